"""What is synced, and in which order: names of new folders, contents before names."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from avpipe import drafts
from avpipe.cache.manifest import Manifest, copy_path
from avpipe.cache.schema import AUDIO, DROPPED
from avpipe.cache.state import drop_stage, published_ns, shard_numbers, stages
from avpipe.cache.verify import verify
from avpipe.drafts import make_folder, temporary, whole
from avpipe.errors import CacheCorruptError
from avpipe.pipeline.commands.init import write_template
from avpipe.pipeline.demo import run as demo
from avpipe.pipeline.pages.cards.run import write_result
from avpipe.pipeline.settings import FILE_NAME
from avpipe.stages.neighbors.approximate import build_index
from avpipe.stages.synth import run as synth
from avpipe.train.runs.metric_lines import append_lines, sync_lines
from avpipe.weights.download import download
from fake_clips import make_cache

_GONE = 1 << 22
"""Linux gives no process this number."""


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, by its name then; a file with its length."""
    found: list[str] = []

    def sync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").resolve()
        found.append(f"{path.name}/" if path.is_dir() else f"{path.name} {os.fstat(fd).st_size}")

    monkeypatch.setattr(os, "fsync", sync)
    return found


def test_names_of_new_folders_are_durable(tmp_path: Path, synced: list[str]) -> None:
    with temporary(tmp_path / "cache" / "hints" / "x" / "0.h5"):
        assert synced == [f"{tmp_path.parent.name}/", f"{tmp_path.name}/", "cache/", "hints/"]
    assert synced[4:] == ["x/"]
    make_folder(tmp_path / "cache" / "hints")
    assert len(synced) == 5


def test_a_folder_that_a_killed_process_made_keeps_its_name(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that it leaves one at most has a name that is not durable: the last."""
    made = tmp_path / "a" / "b" / "c"

    def killed(folder: Path) -> None:
        if folder == made.parent.parent:
            assert made.parent.exists() and not made.exists()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(drafts, "sync_folder", killed)
        make_folder(made)
    make_folder(made)
    assert synced == ["a/", "b/"]


def test_a_folder_below_one_that_may_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path) -> None:
        raise PermissionError(folder)

    monkeypatch.setattr(drafts, "sync_folder", refused)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def _download(folder: Path) -> None:
    def fill(url: str, draft: Path, fd: int, expected: str | None) -> None:
        os.write(fd, b"weights")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avpipe.weights.download._until_whole", fill)
        download("https://example.org/a.pth", folder / "a.pth", None)


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: synth.synth(folder, clips=1, num_test=1, classes=4),
        _download,
        lambda folder: demo._write_settings(folder, "seed = 0"),
    ],
    ids=["synth", "weights", "demo"],
)
def test_a_folder_that_a_command_makes_keeps_its_name(
    write: Callable[[Path], object], tmp_path: Path, synced: list[str]
) -> None:
    write(tmp_path / "above" / "made")
    assert synced[:3] == [f"{tmp_path.parent.name}/", f"{tmp_path.name}/", "above/"]
    assert "made/" in synced[3:]


@pytest.mark.parametrize("write", ["init", "demo"])
def test_settings_are_there_whole_or_not_at_all(
    write: str, tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failure leaves of them must not stop the same command."""
    monkeypatch.chdir(tmp_path)

    def again() -> None:
        if write == "init":
            write_template(Path(FILE_NAME), {})
        else:
            demo._write_settings(Path(), "seed = 0")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", interrupt)
        again()
    assert not Path(FILE_NAME).exists()
    host = socket.gethostname()
    Path(f".{FILE_NAME}.{host}.{_GONE}.1.00000000").write_bytes(b"half")  # what a kill leaves
    again()
    assert [path.name for path in Path().iterdir()] == [FILE_NAME]
    assert synced[-2].startswith(f".{FILE_NAME}.") and synced[-1] == f"{tmp_path.name}/"


def interrupt(fd: int) -> None:
    raise KeyboardInterrupt


def _film(path: Path) -> None:
    with whole(path) as draft:
        draft.write_bytes(bytes(100))


def _index(path: Path) -> None:
    """Build an index with a stand-in for FAISS: that takes seconds to load."""
    index = SimpleNamespace(train=lambda _: None, add=lambda _: None)
    index.cp = SimpleNamespace()
    faiss = SimpleNamespace(
        METRIC_INNER_PRODUCT=0,
        index_factory=lambda *_: index,
        write_index=lambda _, write: write(bytes(100)),
        PyCallbackIOWriter=lambda write: write,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avpipe.stages.neighbors.approximate.load_faiss", lambda: faiss)
        build_index(np.eye(64, 8, dtype=np.float32), path)


@pytest.mark.parametrize(
    "write",
    [_film, lambda path: write_result(path, bytes(100)), _index],
    ids=["whole", "cards", "index"],
)
def test_content_is_durable_before_its_name(
    write: Callable[[Path], None], tmp_path: Path, synced: list[str]
) -> None:
    write(tmp_path / "x")
    size = (tmp_path / "x").stat().st_size
    *_, file, folder = synced
    assert file.startswith(".x.") and file.endswith(f" {size}") and size > 0
    assert folder == f"{tmp_path.name}/"


def test_sound_is_dropped_for_good_before_the_first_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path / "cache", ["a", "b"])
    held: list[Any] = []

    def sync(folder: Path) -> None:
        held.append(((folder / DROPPED).exists(), len(shard_numbers(cache, AUDIO))))

    monkeypatch.setattr("avpipe.cache.state.sync_folder", sync)
    drop_stage(cache, AUDIO)
    assert held == [(True, 1), (True, 0)]


def test_lines_of_metrics_are_durable(tmp_path: Path, synced: list[str]) -> None:
    for name in ("metrics", "validation"):
        append_lines(tmp_path / f"{name}.jsonl", [{"step": 1, "loss": 2.0}])
    sync_lines(tmp_path)
    assert {line.split()[0] for line in synced[:2]} == {"metrics.jsonl", "validation.jsonl"}
    assert synced[2:] == [f"{tmp_path.name}/"]


def test_a_segment_keeps_its_name_while_it_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path / "cache", ["a", "b"])
    segment = cache / "manifest" / "0000.jsonl"
    good = segment.read_bytes()
    segment.write_bytes(good[:-1])
    restored: list[Path] = []

    def copy(source: Path, target: Path) -> None:
        assert target.read_bytes() == good[:-1]
        target.write_bytes(source.read_bytes())  # what was set aside is the same file
        restored.append(target)

    aside = cache / "damaged" / "manifest" / "0000.jsonl"
    monkeypatch.setattr("avpipe.cache.repair.copy_durably", lambda *_: None)
    verify(cache, repair=True)  # killed before the copy
    verify(cache, repair=True)
    assert sorted(path.name for path in aside.parent.iterdir()) == ["0000.jsonl"]
    monkeypatch.setattr("avpipe.cache.repair.copy_durably", copy)
    verify(cache, repair=True)
    assert restored == [segment] and Manifest(cache).num_rows == 2 and copy_path(segment).exists()


def test_a_segment_that_goes_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make_cache(tmp_path / "cache", ["a"])
    names = ["0000.jsonl", "0001.jsonl"]
    monkeypatch.setattr("avpipe.cache.manifest.segment_names", lambda _: names)
    with pytest.raises(CacheCorruptError, match=r"0001\.jsonl is missing"):
        Manifest(cache)


def test_a_stage_that_goes_as_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, listdir = make_cache(tmp_path / "cache", ["a"]), os.listdir
    (cache / "hints" / "x").mkdir(parents=True)
    (cache / "hints" / "x" / "0000000.h5").touch()

    def gone(path: Path) -> list[str]:
        names = listdir(path)
        if Path(path).name == "hints":
            (cache / "hints" / "x" / "0000000.h5").unlink()
            (cache / "hints" / "x").rmdir()
        return names

    monkeypatch.setattr(os, "listdir", gone)
    assert stages(cache) == ["extract", "audio"]
    assert shard_numbers(cache, "hints/x") == set() and published_ns(cache / "hints" / "x") == 0
