"""SIGKILL during `evaluate` and `localize`: the same command finishes, every output the same."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from cache_factory import make_cache
from evaluation_factory import TINY, write_world
from fake_clips import file_bytes
from media_factory import write_clip
from processes import is_decoder
from warm import Warm

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("one_thread")]
Finish = Callable[[Sequence[str | Path]], Any]
Kill = Callable[[str, Sequence[str | Path]], list[int]]


@dataclass(frozen=True)
class World:
    """A cache, its annotations, a trained run and two videos."""

    cache: Path
    annotations: Path
    run: Path
    videos: Path
    ids: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    cache = make_cache(folder / "cache", 28)
    train(cache, load_recipe("compact", TINY), folder / "run", ids=cache.ids[:14], device="cpu")
    (folder / "videos").mkdir()
    for name in ("a", "b"):
        write_clip(folder / "videos" / f"{name}.mp4", fps=8, seconds=1)
    (folder / "ids.txt").write_text("clip014\nclip015\n")
    (folder / "annotations").mkdir()
    annotations = write_world(folder / "annotations")
    return World(cache.path, annotations, folder / "run", folder / "videos", folder / "ids.txt")


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


@pytest.fixture
def finish(capsys: pytest.CaptureFixture[str]) -> Finish:
    """Run a command undisturbed and return its document."""

    def run(arguments: Sequence[str | Path]) -> Any:
        capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def kill(warm: Warm, tmp_path: Path) -> Kill:
    """Run a command until it is killed at that moment; return the processes it left behind."""

    def run(moment: str, arguments: Sequence[str | Path]) -> list[int]:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        words = [*moment.split(), *arguments]
        done = warm.start("import killed_at\nkilled_at.run()", words, log=log)
        assert done.wait() == [-signal.SIGKILL], log.read_text()
        return [int(word) for word in log.read_text().split("\nleft")[1].split()]

    return run


def drafts(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


def test_evaluate(world: World, finish: Finish, kill: Kill, tmp_path: Path) -> None:
    def arguments(run: Path) -> list[str | Path]:
        words: list[str | Path] = ["evaluate", run, "--cache", world.cache, "--batch-size", "4"]
        return [*words, "--annotations", world.annotations]

    calm, run = tmp_path / "calm", tmp_path / "run"
    for folder in (calm, run):
        shutil.copytree(world.run, folder)
    expected = finish(arguments(calm))
    for moment in ("maps 2", "file 1"):  # with some maps made, with half a file of maps
        kill(moment, arguments(run))
        assert not (run / "evaluate" / "synth-maps.npz").exists()
    assert drafts(run / "evaluate")
    kill("file 2", arguments(run))  # the maps are there, of the scores half a table
    assert not (run / "evaluate" / "synth-avpipe.csv").exists()
    found = finish(arguments(run))
    (entry,), (calm_entry,) = found["runs"], expected["runs"]
    assert entry.pop("maps_reused") > calm_entry.pop("maps_reused")
    assert entry.pop("run") == str(run)
    assert calm_entry.pop("run") == str(calm)
    for document in (found, expected):  # paths, too
        del document["groups"][0]["name"], document["groups"][0]["runs"]
    assert found == expected
    assert file_bytes(run) == file_bytes(calm)


@pytest.mark.parametrize(
    ("source", "moments"),
    [
        pytest.param("cache", ("file 1", "file 3"), id="cache"),  # the third is the sheet
        pytest.param("videos", ("maps 2", "file 2"), id="videos"),
    ],
)
def test_localize(
    source: str,
    moments: Sequence[str],
    world: World,
    finish: Finish,
    kill: Kill,
    tmp_path: Path,
) -> None:
    def arguments(out: Path) -> list[str | Path]:
        words: list[str | Path] = ["localize", "--run", world.run, "--out", out]
        if source == "videos":
            return [*words, world.videos]
        return [*words, "--ids", world.ids, "--cache", world.cache]

    calm, out = tmp_path / "calm", tmp_path / "out"
    assert len(finish(arguments(calm))["pictures"]) == 3
    out.mkdir()
    (out / ".mine").write_text("a file of the user")
    for moment in moments:
        orphans = kill(moment, arguments(out))
        assert len(orphans) == (source == "videos")  # the decoder
        end = time.monotonic() + 300
        while any(map(is_decoder, orphans)):
            assert time.monotonic() < end
            time.sleep(0.01)
    assert len(drafts(out)) > 1  # a killed process's, beside the user's
    assert len(finish(arguments(out))["pictures"]) == 3
    assert (out / ".mine").read_text() == "a file of the user"
    (out / ".mine").unlink()
    assert file_bytes(out) == file_bytes(calm)
