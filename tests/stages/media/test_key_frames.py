"""`--frame keyframe`: the key frame nearest to a clip's middle, and the sound around it."""

from pathlib import Path

import pytest
from avpipe.stages.extract import header_params
from avpipe.stages.features import FeatureParams, make_row
from avpipe.stages.media import DECODERS, decode_clip
from media_factory import AAC, H264, read_number, sound_time_s, write_clip

GROUPS = "keyint={0}:min-keyint={0}:scenecut=0:open-gop=0:bframes=2"


def grouped(folder: Path, length: int, suffix: str = ".mp4") -> str:
    """Write 4 s, 100 pictures, with a key frame every so many; the middle is picture 50."""
    video = (*H264, "-x264-params", GROUPS.format(length))
    return str(write_clip(folder / f"{length}{suffix}", video=video, audio=AAC))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("length", "number"), [(12, 48), (53, 53), (30, 60), (20, 40), (25, 50), (200, 0)]
)
def test_the_nearest_is_taken(tmp_path: Path, length: int, number: int, decoder: str) -> None:
    path = grouped(tmp_path, length)
    clip = decode_clip(path, decoder=decoder, key_frame=True)
    assert read_number(clip.frame) == number
    assert clip.frame_pts_s == pytest.approx(number / 25, abs=1e-3)
    assert clip.time_s == pytest.approx(clip.frame_pts_s, abs=1e-6)
    assert read_number(decode_clip(path, decoder=decoder).frame) == 50


def test_the_sound_is_that_around_the_picture(tmp_path: Path) -> None:
    clip = decode_clip(grouped(tmp_path, 30), seconds=1.0, key_frame=True)
    heard_s = sound_time_s(clip.waveform, clip.rate_hz, 4.0)
    assert heard_s == pytest.approx(clip.audio_start_s, abs=0.01)
    assert clip.audio_start_s == pytest.approx(2.4 - 0.5, abs=0.03)


def test_other_containers(tmp_path: Path) -> None:
    for suffix in (".mkv", ".ts"):
        clip = decode_clip(grouped(tmp_path, 30, suffix), key_frame=True)
        assert read_number(clip.frame) == 60, suffix


def test_one_outside_the_clip_is_not_taken(tmp_path: Path) -> None:
    path = grouped(tmp_path, 53)  # pictures 0 and 53; the clip has 27 to 51
    inside = decode_clip(path, start_s=1.1, span_s=0.94, key_frame=True)
    assert read_number(inside.frame) == read_number(
        decode_clip(path, start_s=1.1, span_s=0.94).frame
    )


def test_it_is_stated_and_the_default_is_not(tmp_path: Path) -> None:
    assert "frame" not in header_params(FeatureParams())
    assert header_params(FeatureParams(frame="keyframe"))["frame"] == "keyframe"
    row = make_row(grouped(tmp_path, 12), params=FeatureParams(frame="keyframe"))
    assert row["frame_pts_s"] == pytest.approx(48 / 25, abs=1e-3)
