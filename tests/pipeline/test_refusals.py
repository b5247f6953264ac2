"""Whatever the system refuses is one line that names the file, with the exit code of its side."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from avpipe.cache.state import drop_stage, stages
from avpipe.cache.verify import verify
from avpipe.errors import InputError
from avpipe.pipeline.main import main
from avpipe.pipeline.refusals import as_refusal
from conftest import Runner
from fake_clips import make_cache

SYSTEM = (
    errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ESTALE, errno.EROFS, errno.EDQUOT,
    errno.ENOSPC, errno.EACCES, errno.ENOTDIR, errno.ENOLCK,
)  # fmt: skip


@pytest.mark.parametrize("number", SYSTEM, ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("file", "code"),
    [("videos/a/b.mp4", 4), ("videos", 4), ("avcache/extract/0000000.h5", 7), ("elsewhere", 7),
     ("videos/inside/manifest", 7)],
)  # fmt: skip
def test_the_exit_code_is_that_of_the_files_side(
    number: int, file: str, code: int, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    runner(OSError(number, os.strerror(number), file))
    cache = "videos/inside" if "inside" in file else "avcache"
    assert main(["extract", "videos", "--cache", cache]) == code
    line = capsys.readouterr().err
    assert line.startswith(f"avpipe: error: {file}: {os.strerror(number)}")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libcublas.so: cannot open shared object file: Too many open files"),
        OSError("Unable to synchronously open file (errno = 24, 'Too many open files')"),
        RuntimeError("can't start new thread"),
    ],
)
def test_what_libraries_say_in_words_is_the_system_too(
    error: Exception, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    runner(error)
    assert main(["extract", "videos"]) == 7
    assert "then run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ImportError("cannot import name"), OSError("odd"), RuntimeError(), ValueError("x")]
)
def test_our_own_mistakes_are_no_refusals(error: Exception) -> None:
    assert as_refusal(error, {}) is None


def test_a_read_that_fails_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.touch()

    def read(where: Path) -> None:
        with where.open() as lines:
            raise OSError(errno.EIO, os.strerror(errno.EIO), lines.buffer.peek() or None)

    with pytest.raises(OSError) as caught:
        read(path)
    refusal = as_refusal(caught.value, {"ids": path, "cache": tmp_path / "avcache"})
    assert (str(refusal), getattr(refusal, "exit_code", 0)) == (f"{path}: Input/output error", 4)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["config", "status"])
def test_results_that_cannot_be_printed_are_one_line(command: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "avcache", ["a"])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "avpipe", command],
            env={**os.environ, "AVPIPE_CACHE": str(cache)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 7
    assert done.stderr.startswith("avpipe: error: standard output: No space left on device; ")
    assert done.stderr.count("\n") == 1


# drop


def test_a_killed_drop_is_finished_by_the_same_command(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "avcache", ["a"])
    folder = cache / "hints" / "detr-r50"
    folder.mkdir(parents=True)
    (folder / ".0000000.h5.host.1.0123abcd").touch()  # of a run that was writing it
    assert main(["drop", "hints/detr-r50", "--cache", str(cache)]) == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    "name", ["hints", "hints/", "hints/..", "manifest", "damaged/x", "hints/detr-r50/..", "", "x/y"]
)
def test_only_a_stage_is_dropped(name: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "avcache", ["a"])
    for folder in ("hints/mine", "damaged/x", "x/y"):
        (cache / folder).mkdir(parents=True)
    (cache / "hints" / "mine" / "notes.txt").touch()
    for stage in (name, "hints/mine"):
        with pytest.raises(InputError, match="has no stage"):
            drop_stage(cache, stage)
    assert (cache / "hints" / "mine" / "notes.txt").exists()


# Two at once


def test_two_repairs_at_once(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "avcache", ["a", "b", "c", "d", "e"])
    spoilt = [cache / "extract" / "0000000.h5", cache / "manifest" / "0000.jsonl.copy"]
    for path in spoilt:
        path.write_bytes(b"spoilt")
    words = [sys.executable, "-m", "avpipe", "verify", "--repair", "--cache", str(cache)]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) in ([0, 0], [0, 5]), told
    assert not any("Traceback" in text for text in told), told
    aside = sorted(path.name for path in (cache / "damaged").rglob("*") if path.is_file())
    assert aside == ["0000.jsonl.copy", "0000000.h5"]
    assert verify(cache).damaged == {}


def test_a_shard_that_goes_meanwhile_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path / "avcache", ["a", "b", "c", "d", "e"])
    (cache / "audio" / "0000000.h5").write_bytes(b"spoilt")

    def gone(path: Path, target: Path) -> None:
        path.unlink()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    with monkeypatch.context() as patch:  # another repair was faster, where nothing can be locked
        patch.setattr("avpipe.cache.repair.fcntl.flock", lambda *_: os.strerror(errno.ENOLCK))
        patch.setattr(Path, "rename", gone)
        assert list(verify(cache, repair=True).damaged) == ["audio/0000000.h5"]

    def listed(folder: Path) -> list[str]:
        found = stages(folder)
        drop_stage(folder, "audio")
        return found

    with monkeypatch.context() as patch:
        patch.setattr("avpipe.cache.verify.stages", listed)
        assert verify(cache).ok


def test_a_disk_that_answers_at_the_second_try_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path / "avcache", ["a"])
    calls, pread = iter(range(2)), os.pread

    def read(fd: int, n: int, offset: int) -> bytes:
        if next(calls, 0) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, n, offset)

    monkeypatch.setattr(os, "pread", read)
    assert verify(cache, repair=True).damaged == {}
    monkeypatch.setattr(os, "preadv", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "dead")))
    assert set(verify(cache).damaged) == {"audio/0000000.h5", "extract/0000000.h5"}
