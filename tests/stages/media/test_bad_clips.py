"""Clips that must fail, each with its reason, and without touching anything but themselves."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from avpipe.errors import ClipError, Reason
from avpipe.stages.features import FeatureParams, make_row
from avpipe.stages.media import DECODERS, decode_clip
from avpipe.stages.workers.decoder import DecoderChild, answer
from bad_clips import BAD, absurd_table, cut, written
from media_factory import AAC, write_clip


@pytest.mark.parametrize("name", BAD)
def test_bad_clips_fail_with_their_reason(name: str, tmp_path: Path) -> None:
    make, reason = BAD[name]
    path = str(make(tmp_path))
    for decoder in DECODERS:
        with pytest.raises(ClipError) as caught:
            decode_clip(path, seconds=10, decoder=decoder)
        assert caught.value.reason == reason
        assert (
            str(tmp_path) not in caught.value.detail
        )  # a cache must not depend on where it was made


def test_a_cut_clip_is_done_while_its_middle_is_there(tmp_path: Path) -> None:
    assert decode_clip(str(cut(0.95, index_first=True)(tmp_path))).frame_pts_s == 2.0


@pytest.mark.parametrize("fourcc", [b"sowt", b"rle "])
def test_a_codec_nobody_knows(fourcc: bytes, tmp_path: Path) -> None:
    options = {"video": ("-c:v", "qtrle"), "audio": ("-c:a", "pcm_s16le"), "seconds": 1.0}
    whole = write_clip(tmp_path / "a.mov", **options).read_bytes()
    assert fourcc in whole
    path = written("b.mov", whole.replace(fourcc, b"zzzz"))(tmp_path)
    with pytest.raises(ClipError) as caught:
        decode_clip(str(path))
    assert caught.value.reason == Reason.DECODE_ERROR


def test_random_damage_never_takes_the_decoder_down(tmp_path: Path) -> None:
    """Bits flipped, bytes lost, ends cut off: a row or a reason of the clip's own, every time."""
    flv = ("-c:v", "flv", "-q:v", "3")
    vp8 = ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "500k", "-threads", "1")
    sources = [
        write_clip(tmp_path / "a.mp4", seconds=1.0),
        write_clip(tmp_path / "a.ts", seconds=1.0),
        write_clip(tmp_path / "a.flv", seconds=1.0, video=flv),
        write_clip(tmp_path / "a.webm", seconds=1.0, video=vp8, audio=("-c:a", "libvorbis")),
    ]
    generator = np.random.default_rng(17)
    with DecoderChild(FeatureParams(), timeout_s=30) as child:
        for number in range(160):
            source = sources[number % len(sources)]
            data = bytearray(source.read_bytes())
            reach = (len(data), 2000)[number % 3 == 0]
            for position in generator.integers(reach, size=generator.integers(1, 30)):
                data[position] ^= 1 << int(generator.integers(8))
            if number % 5 == 0:
                del data[generator.integers(len(data)) :]
            damaged = tmp_path / f"damaged{source.suffix}"
            damaged.write_bytes(data)
            try:
                assert child.row({"path": str(damaged)})["frame_jpeg"]
            except ClipError as error:
                assert error.reason not in ("crashed", "timeout", "io_error"), (number, error)


def test_memory_that_is_used_up_is_no_clips_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(absurd_table(tmp_path))
    absurd = pytest.raises(ClipError, match="decode_error: it asks for an absurd amount")
    with DecoderChild(FeatureParams()) as child, absurd:
        child.row({"path": path})
    monkeypatch.setattr("avpipe.stages.media.container._ENOUGH_BYTES", 1 << 60)
    with pytest.raises(MemoryError):
        decode_clip(path)


def test_a_span_beyond_the_end(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4"))
    for start_s, reason in ((4.0, "truncated"), (100.0, "truncated"), (3.9, "too_short")):
        with pytest.raises(ClipError, match=reason):
            decode_clip(path, start_s=start_s)


def test_unreadable_files(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = write_clip(tmp_path / "a.mp4", seconds=1.0)
    path.chmod(0)
    with pytest.raises(ClipError, match="io_error"):
        decode_clip(str(path))


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EIO, None), (errno.EMFILE, "io_error"), (errno.ESTALE, "io_error")],
)
def test_a_file_that_is_refused_once(
    number: int, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again, by the decoder or by who asked it: the reason is one that may pass."""
    path, really_open = str(write_clip(tmp_path / "a.mp4", seconds=1.0)), av.open
    refusals = [number] * 2  # opening goes on where a look at the header alone is refused

    def open_once_refused(*given: Any, **named: Any) -> Any:
        if refusals:
            av.error.err_check(-refusals.pop())
        return really_open(*given, **named)

    monkeypatch.setattr(av, "open", open_once_refused)
    if reason:
        with pytest.raises(ClipError, match=reason):
            answer({"do": "row", "path": path}, FeatureParams())
    found = answer({"do": "row", "path": path}, FeatureParams())
    assert refusals == []
    assert found["frame_jpeg"] == make_row(path)["frame_jpeg"]


def test_a_missing_sound_file(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4", seconds=1.0))
    with pytest.raises(ClipError, match="missing"):
        decode_clip(path, audio_path=str(tmp_path / "gone.wav"))
    with pytest.raises(ClipError, match="no_audio"):
        decode_clip(path, audio_path=str(write_clip(tmp_path / "mute.mp4", audio=None)))


@pytest.mark.parametrize("name", ["HLS", "HLS, absolute", "concat"])
def test_no_second_file_is_opened(name: str, tmp_path: Path) -> None:
    """Reading a file changes its access time when that is older than its last change."""
    path = BAD[name][0](tmp_path)
    others = [file for file in tmp_path.iterdir() if file != path]
    assert others
    for file in (*others, path):
        os.utime(file, (1, 2))
    with pytest.raises(ClipError):
        decode_clip(str(path))
    path.read_bytes()
    if path.stat().st_atime == 1:
        pytest.skip("this file system does not keep access times")
    assert [file.stat().st_atime for file in others] == [1] * len(others)


def test_precedence_of_reasons(tmp_path: Path) -> None:
    """The earlier reason wins where a clip has several."""
    no_audio_short = write_clip(tmp_path / "a.mp4", audio=None, seconds=0.1, fps=30)
    both = write_clip(tmp_path / "b.mkv", audio=AAC, seconds=0.1, fps=30, size=(4096, 2),
                      video=("-c:v", "ffv1"))  # fmt: skip
    for path, reason in ((no_audio_short, Reason.NO_AUDIO), (both, Reason.TOO_SHORT)):
        with pytest.raises(ClipError) as caught:
            make_row(str(path))
        assert caught.value.reason == reason
