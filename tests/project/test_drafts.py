"""Drafts: whole or not there, and those of killed runs swept by the next run of each command."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from avpipe.advice import asking
from avpipe.drafts import remove_orphans, temporary_folder, temporary_parent, whole, whole_folder
from avpipe.errors import CacheUnwritableError
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.made_by import note, noted
from avpipe.weights.store import WeightFile, fetch
from cache_factory import make_cache
from evaluation_factory import TINY, write_world
from peer_factory import network_of, write_released

DEAD = 4194304
"""No process of Linux has a number above 4194303."""


def orphan(path: Path, *, is_folder: bool = False) -> Path:
    """Leave what a killed process was writing in place of `path`."""
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{DEAD}.0123abcd")
    draft.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        draft.mkdir()
        (draft / "weights.safetensors").write_bytes(b"half")
    else:
        draft.write_bytes(b"half")
    return draft


def test_only_drafts_of_dead_processes_of_this_host_go(tmp_path: Path) -> None:
    host = socket.gethostname()
    gone = [orphan(tmp_path / "a.b.json"), orphan(tmp_path / "00000010", is_folder=True)]
    kept = [
        f".x.h5.other-{host}.{DEAD}.0123abcd",  # of a host that ends with our name
        f".x.h5.{host}.{os.getpid()}.0123abcd",  # ours
        f".notes.{host}.{DEAD}.txt",  # a file of the user
        f"x.h5.{host}.{DEAD}.0123abcd",
        f".x.h5.{host}.9{'0' * 30}.0123abcg",
    ]
    for name in kept:
        (tmp_path / name).touch()
    remove_orphans(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert not any(path.exists() for path in gone)
    remove_orphans(tmp_path / "not there")


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="this system does not say when processes began"
)


@needs_proc
def test_a_process_that_has_the_number_of_a_dead_one_keeps_no_draft(tmp_path: Path) -> None:
    with whole(tmp_path / "x.json") as mine:
        ours = f".x.json.{socket.gethostname()}.{os.getpid()}"
        begun = mine.name.removeprefix(f"{ours}.").partition(".")[0]
        before = tmp_path / f"{ours}.{int(begun) - 1}.0123abcd"  # the number was another's then
        same = tmp_path / f"{ours}.{begun}.0123abcd"
        older = tmp_path / f"{ours}.0123abcd"  # by a version that did not say when it began
        for path in (before, same, older):
            path.touch()
        remove_orphans(tmp_path)
        assert not before.exists() and mine.exists() and same.exists() and older.exists()


def test_what_a_killed_process_left_among_the_temporary_files_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, signal\nfrom avpipe.drafts import temporary_folder\n"
        "with temporary_folder() as folder:\n"
        "    (folder / 'upload.mp4').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (left,) = temporary_parent().iterdir()
    assert list(left.iterdir())
    monkeypatch.setattr("avpipe.drafts._swept", set())
    with temporary_folder() as folder:
        assert list(temporary_parent().iterdir()) == [folder]
    assert not list(temporary_parent().iterdir())


def test_no_other_folder_among_the_temporary_files_is_made() -> None:
    root = Path(__file__).parents[2]
    for package in ("cache", "pipeline", "stages", "train", "weights"):
        for path in (root / package).rglob("*.py"):
            assert not re.search(r"TemporaryDirectory|mkdtemp", path.read_text()), path


@needs_proc
def test_a_fork_says_when_it_began_itself(tmp_path: Path) -> None:
    with whole(tmp_path / "x.json") as mine:
        pass
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        with whole(tmp_path / "y.json") as its:
            os.write(write, its.name.encode())
        os._exit(0)
    name = os.read(read, 1000).decode()
    os.waitpid(child, 0)
    host = socket.gethostname()
    assert name.startswith(f".y.json.{host}.{child}.")
    begun = [int(one.rpartition(".")[0].rpartition(".")[2]) for one in (mine.name, name)]
    assert begun[0] <= begun[1] and name.count(".") == mine.name.count(".")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(error: OSError | None) -> None:
        with whole_folder(tmp_path / "10") as draft:
            (draft / "weights").write_bytes(b"1")
            remove_orphans(tmp_path)  # of another process: what is being written stays
            if error:
                raise error

    with pytest.raises(CacheUnwritableError, match=r"10: Disk quota exceeded; .*free some space"):
        fill(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)))
    assert list(tmp_path.iterdir()) == []
    fill(None)
    assert [path.name for path in tmp_path.rglob("*")] == ["10", "weights"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EIO, "check the disk"),
        (errno.EMFILE, r"allow more open files \(`ulimit -n`\)"),
        (errno.EROFS, "make its folder writable or free some space"),
        (errno.ESTALE, "mount its folder again"),
    ],
)
def test_the_remedy_fits_what_the_system_says(number: int, words: str, tmp_path: Path) -> None:
    def write() -> None:
        with whole(tmp_path / "x.json"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(CacheUnwritableError, match=f"{words}, then run the same command again"):
        write()


@dataclass(frozen=True)
class World:
    """A cache, annotations, a list of clips and a run."""

    cache: Path
    annotations: Path
    ids: Path
    run: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> World:
    folder = tmp_path_factory.mktemp("world")
    cache = make_cache(folder / "cache", 28)
    train(cache, load_recipe("compact", TINY), folder / "run", ids=cache.ids[:14], device="cpu")
    (folder / "annotations").mkdir()
    (folder / "ids.txt").write_text("clip014\n")
    (folder / "train.txt").write_text("\n".join(cache.ids[:14]))
    return World(
        cache.path, write_world(folder / "annotations"), folder / "ids.txt", folder / "run"
    )


def train_words(world: World) -> list[str | Path]:
    words: list[str | Path] = ["train", "--recipe", "compact", "--run", world.run]
    words += ["--cache", world.cache, "--ids", world.run.with_name("train.txt")]
    return [*words, *(word for key in TINY for word in ("--set", key))]


Words = Callable[[World, Path], Sequence[str | Path]]
COMMANDS: dict[str, tuple[Words, Sequence[str]]] = {
    "train": (lambda world, _: train_words(world), ("RUN/run.json", "RUN/metrics.jsonl")),
    "evaluate": (
        lambda world, _: [
            *("evaluate", world.run, "--cache", world.cache, "--annotations", world.annotations)
        ],
        ("RUN/evaluate/synth-maps.npz",),
    ),
    "report": (lambda world, out: ["report", world.run, "--out", out / "x.html"], ("OUT/x.html",)),
    "export": (lambda world, out: ["export", world.run, "--out", out], ("OUT/model.safetensors",)),
    "localize": (
        lambda world, out: [
            *("localize", "--run", world.run, "--out", out),
            *("--ids", world.ids, "--cache", world.cache),
        ],
        ("OUT/clip014.png",),
    ),
    "inspect": (
        lambda world, out: ["inspect", "--cache", world.cache, "--out", out / "x.png"],
        ("OUT/x.png",),
    ),
    "synth": (
        lambda world, out: ["synth", out / "w", "--clips", "1", "--classes", "4", "--jobs", "1"],
        ("OUT/w/world.json", "OUT/w/videos/synth0-00000_000000.mp4"),
    ),
    "verify": (
        lambda world, _: ["verify", "--repair", "--cache", world.cache],
        ("CACHE/manifest/0000.jsonl", "CACHE/damaged/hints/x/0000000.h5"),
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_next_run_sweeps_what_a_killed_one_left(
    name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    words, targets = COMMANDS[name]
    places = {"RUN": world.run, "OUT": tmp_path / "out", "CACHE": world.cache}
    left = []
    for target in targets:
        place, _, below = target.partition("/")
        left.append(orphan(places[place] / below))
    if name == "train":
        left.append(orphan(world.run / "checkpoints" / "00000009", is_folder=True))
    assert main([*map(str, words(world, tmp_path / "out"))]) == 0
    assert [path for path in left if path.exists()] == []


def test_a_run_that_is_done_loses_what_was_to_be_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill after the last checkpoint, before the oldest one goes."""
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    last = max((world.run / "checkpoints").glob("0*"))
    for step in (0, 1):
        shutil.copytree(last, last.with_name(f"{step:08d}"))
    assert main([*map(str, train_words(world))]) == 0
    assert sorted(path.name for path in last.parent.iterdir()) == ["00000001", last.name]
    shutil.rmtree(last.with_name("00000001"))


def test_an_import_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    left = orphan(tmp_path / "run", is_folder=True)
    (tmp_path / "theirs").mkdir()
    released = write_released(tmp_path / "theirs", "ez-vsl", network_of("ez-vsl"))
    words = ["import-checkpoint", released, "--from", "ez-vsl", "--run", tmp_path / "run"]
    assert main([*map(str, words)]) == 0
    assert not left.exists()
    assert (tmp_path / "run" / "run.json").exists()


def test_a_note_of_the_same_command_sweeps_what_a_power_failure_left(tmp_path: Path) -> None:
    """Both names of a renamed file may be left."""
    with asking("export", (("--licence", "MIT"),)):
        note(tmp_path, "export/")
        left = orphan(tmp_path / "commands.json")
        note(tmp_path, "export/")
    assert not left.exists() and noted(tmp_path) == {"export/": (("--licence", "MIT"),)}


def test_fetching_weights_sweeps_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / "net.pth").write_bytes(b"weights")
    left = orphan(tmp_path / "net.pth.sha256")
    assert fetch("net", WeightFile("net.pth", "https://example.org/net.pth")).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    assert not left.exists()
