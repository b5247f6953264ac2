"""An MP4 file is opened by its header alone where that says all; else as any other file."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from avpipe.stages.media import container, decode_clip
from media_factory import H264, write_clip


def facts(opened: av.container.InputContainer) -> list[Any]:
    """All that is read of a container beside its packets."""
    found: list[Any] = [opened.start_time, opened.duration, opened.format.name]
    for stream in opened.streams.video:
        codec = stream.codec_context
        found += [codec.name, codec.width, codec.height, stream.sample_aspect_ratio]
        found += [stream.time_base, stream.start_time, stream.duration, stream.average_rate]
        found += [stream.guessed_rate, stream.disposition]
    for sound in opened.streams.audio:
        found += [sound.codec_context.name, sound.sample_rate, sound.start_time, sound.duration]
    return found


@pytest.mark.parametrize(
    "output", [("-aspect", "2:1"), ("-aspect", "4:3", "-movflags", "faststart")]
)
def test_the_header_says_what_probing_finds(tmp_path: Path, output: tuple[str, ...]) -> None:
    path = str(write_clip(tmp_path / "a.mp4", output=output))
    briefly = container._open_by_header(path, container.MAX_PIXELS, wants_aspect=True)
    assert briefly is not None
    with briefly, container._open(path, container.MAX_PIXELS) as probed:
        assert facts(briefly) == facts(probed)


def without_aspect(path: Path, sar: str) -> str:
    """Write a clip whose header does not say what shape its pixels have."""
    write_clip(path, video=(*H264, "-x264-params", f"sar={sar}"))
    path.write_bytes(path.read_bytes().replace(b"pasp", b"free"))
    return str(path)


def test_what_only_the_pictures_say_is_probed_where_it_is_wanted(tmp_path: Path) -> None:
    path = without_aspect(tmp_path / "a.mp4", "2/1")
    with container.open_media(path) as opened:
        assert opened.streams.video[0].sample_aspect_ratio == 2
    with container.open_media(path, wants_aspect=False) as opened:
        assert opened.streams.video[0].sample_aspect_ratio is None


@pytest.mark.parametrize("sar", ["2/1", "3/4", "1/1", "0/1"])
def test_the_picture_says_its_shape_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sar: str
) -> None:
    path = without_aspect(tmp_path / "a.mp4", sar)
    frame = decode_clip(path).frame
    assert frame.shape == decode_clip(path, decoder="ffmpeg").frame.shape
    monkeypatch.setattr(container, "_open_by_header", lambda *_: None)
    assert np.array_equal(frame, decode_clip(path).frame)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi"])
def test_others_are_not_opened_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1aE\xdf\xa3" * 8)
    assert container._open_by_header(str(tmp_path / name), container.MAX_PIXELS, False) is None


def test_another_codec_is_probed(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4", video=("-c:v", "mpeg4", "-q:v", "3")))
    assert container._open_by_header(path, container.MAX_PIXELS, False) is None
