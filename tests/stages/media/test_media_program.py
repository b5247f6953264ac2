"""The `ffmpeg` program: whichever there is, it is never a clip's fault, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from avpipe.drafts import temporary_parent
from avpipe.errors import ClipError, MissingDependencyError
from avpipe.stages.features import FeatureParams
from avpipe.stages.media import decode_clip, decoder_version, program
from avpipe.stages.media.decoders import ffmpeg
from avpipe.stages.workers.decoder import DecoderChild
from media_factory import H264, read_number, write_clip

Installer = Callable[[str], Path]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Look for the program anew in every test."""
    caches = (program.program, program.version, ffmpeg.check_program)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=1.0))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    """Put a program named `ffmpeg`, a shell script, first on the path."""

    def put(script: str) -> Path:
        path = tmp_path / "bin" / "ffmpeg"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
        return path

    return put


VERSION = 'if [ "$1" = -version ]; then echo "ffmpeg version 4.2 Copyright"; exit 0; fi\n'
REAL = imageio_ffmpeg.get_ffmpeg_exe()
AT_FAULT = {
    "an option it does not know": ("echo \"Unrecognized option 'x'.\" >&2; exit 1", "option 'x'"),
    "a library it lacks": ("echo 'libx264.so: cannot open shared object' >&2; exit 127", "libx264"),
    "it crashes": ("kill -SEGV $$", "SIGSEGV"),
    "it does nothing": ("exit 0", "decodes nothing"),
    "no pictures": (f'case "$*" in *ppm*) exit 0;; *) exec {REAL} "$@";; esac', "decodes nothing"),
    "no sound": (f'case "$*" in *f32le*) exit 0;; *) exec {REAL} "$@";; esac', "decodes nothing"),
}


@pytest.mark.parametrize("name", AT_FAULT)
def test_a_program_at_fault_is_named(name: str, clip: str, install: Installer) -> None:
    script, words = AT_FAULT[name]
    path = install(VERSION + script)
    assert "4.2" in decoder_version("ffmpeg")
    with pytest.raises(MissingDependencyError) as caught:
        decode_clip(clip, decoder="ffmpeg")
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "kill -KILL $$"])
def test_a_program_that_does_not_say_its_version(script: str, install: Installer) -> None:
    path = install(script)
    with pytest.raises(MissingDependencyError, match=str(path)):
        decoder_version("ffmpeg")


def test_a_program_that_cannot_run(clip: str, install: Installer) -> None:
    path = install("exit 0")
    path.write_bytes(b"\x7fELF nothing")
    for ask in (lambda: decoder_version("ffmpeg"), lambda: decode_clip(clip, decoder="ffmpeg")):
        with pytest.raises(MissingDependencyError, match=f"{path} cannot be used .*format"):
            ask()


def test_extract_exits_6_and_names_the_program(
    clip: str, install: Installer, tmp_path: Path
) -> None:
    """The cache holds no failure: with another program the same command goes on."""
    path = install(VERSION + "echo 'no such filter' >&2; exit 1")
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "avpipe", "extract", clip, "--cache", str(cache)]
    command += ["--decoder", "ffmpeg", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done.stderr
    assert f"{path} cannot be used (no such filter)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(cache.glob("extract/*.h5"))
    path.write_text(f'#!/bin/sh\nexec {REAL} "$@"\n')
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_none_on_the_path(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own program decodes, whatever its version."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert program.program() == REAL
    assert read_number(decode_clip(clip, decoder="ffmpeg").frame) == 12
    ffmpeg.check_program()


def test_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("no ffmpeg exe could be found")

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(MissingDependencyError, match="no ffmpeg program"):
        decoder_version("ffmpeg")


def test_nothing_is_written_beside(
    clip: str, install: Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by a program that takes an option's value for a file to write."""
    install(f'touch 0 ffmpeg2pass-0.log; exec {REAL} "$@"')
    here = tmp_path / "here"
    here.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    folder = Path(clip).parent
    before = sorted(folder.iterdir())
    assert read_number(decode_clip(os.path.relpath(clip), decoder="ffmpeg").frame) == 12
    assert sorted(folder.iterdir()) == before
    assert not list(here.iterdir())
    assert not list(temporary_parent().iterdir())


def test_a_program_on_a_relative_path(
    clip: str, install: Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(f'exec {REAL} "$@"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    assert read_number(decode_clip(clip, decoder="ffmpeg").frame) == 12


def test_the_programs_last_words_reach_the_detail(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", video=(*H264, "-g", "999"))
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    begin += (end - begin) // 4
    data[begin:end] = np.random.default_rng(5).bytes(end - begin)
    path.write_bytes(data)
    details = set()
    for _ in range(3):
        with pytest.raises(ClipError) as caught:
            decode_clip(str(path), decoder="ffmpeg")
        assert caught.value.reason == "decode_error"
        details.add(caught.value.detail)
    (detail,) = details  # the same each time: a shard is a function of its clips
    said, _, words = detail.partition("cannot be decoded: ")
    assert said
    assert words
    assert str(tmp_path) not in detail
    assert "0x" not in detail


def test_a_program_that_dies_over_one_clip(clip: str, install: Installer, tmp_path: Path) -> None:
    """Half an output is no picture: that clip crashed, others are done."""
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(Path(clip).read_bytes())
    install(f'case "$*" in *bad.mp4*) kill -SEGV $$;; esac; exec {REAL} "$@"')
    with DecoderChild(FeatureParams(decoder="ffmpeg")) as child:
        with pytest.raises(ClipError, match="crashed: the ffmpeg program ended: SIGSEGV"):
            child.row({"path": str(bad)})
        assert child.row({"path": clip})["frame_jpeg"]
