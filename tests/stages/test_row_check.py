"""The gate in front of the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.errors import ClipError
from avpipe.stages.features import Row, make_row
from avpipe.stages.row_check import bounds, require_sane
from media_factory import run_ffmpeg, write_clip

LIMITS = {"wide_columns": 462, "max_samples": 320_000}


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Row:
    return make_row(str(write_clip(tmp_path_factory.mktemp("clip") / "a.mp4")))


def filled(value: float) -> Callable[[Row], dict[str, Any]]:
    def change(row: Row) -> dict[str, Any]:
        wide = row["spectrogram_wide"].copy()
        wide[100, 200] = value
        return {"spectrogram_wide": wide}

    return change


def put(**values: Any) -> Callable[[Row], dict[str, Any]]:
    return lambda row: values


NONSENSE = {
    "a spectrogram that is not a number": (filled(np.nan), "decode_error"),
    "an infinite spectrogram": (filled(np.inf), "decode_error"),
    "a spectrogram louder than anything": (filled(30), "decode_error"),
    "a spectrogram below silence": (filled(-40), "decode_error"),
    "a frame behind the end": (put(frame_pts_s=4.5), "decode_error"),
    "a frame before the start": (put(frame_pts_s=-0.5), "decode_error"),
    "no duration": (put(duration_s=float("nan")), "decode_error"),
    "an infinite duration": (put(duration_s=float("inf")), "decode_error"),
    "no sound": (put(waveform=np.empty(0, np.int16)), "no_audio"),
    "too much sound": (put(waveform=np.zeros(320_001, np.int16)), "decode_error"),
    "a moment far from the sound": (put(frame_sample=10_000_000), "decode_error"),
    "no columns": (put(valid_cols=(93, 93)), "decode_error"),
    "too many columns": (put(valid_cols=(0, 463)), "decode_error"),
    "another size": (put(frame_hw=(100, 300)), "decode_error"),
    "no picture": (put(frame_jpeg=b""), "decode_error"),
}


def test_a_clip_passes(row: Row) -> None:
    require_sane(row, **LIMITS)


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_does_not(name: str, row: Row) -> None:
    change, reason = NONSENSE[name]
    with pytest.raises(ClipError, match=reason):
        require_sane({**row, **change(row)}, **LIMITS)  # type: ignore[typeddict-item]


def test_silence_and_full_scale_pass(tmp_path: Path) -> None:
    for name, tone in (("a.mov", np.zeros(44100)), ("b.mov", np.sin(np.arange(44100) / 5))):
        path = write_clip(tmp_path / name, seconds=1.0, waveform=tone.astype(np.float32),
                          gains=(1,), audio=("-c:a", "pcm_s16le"))  # fmt: skip
        assert make_row(str(path))["silent"] == (name == "a.mov")


def test_sound_beyond_any_level(tmp_path: Path) -> None:
    """Finite, and nonsense: samples a million times full scale."""
    noise = (np.random.default_rng(1).standard_normal(4 * 44100) * 1e6).astype("<f4")
    raw = tmp_path / "loud.f32"
    raw.write_bytes(noise.tobytes())
    clip = write_clip(tmp_path / "a.mov", audio=None)
    options = ("-f", "f32le", "-ar", "44100", "-ac", "1", "-i", raw)
    run_ffmpeg("-i", clip, *options, "-c:v", "copy", "-c:a", "pcm_f32le", tmp_path / "b.mov")
    with pytest.raises(ClipError, match="decode_error: sound too loud"):
        make_row(str(tmp_path / "b.mov"))


def test_pictures_that_begin_behind_their_own_length(tmp_path: Path) -> None:
    """Where a header says a second and the first picture comes after three, one of them lies."""
    path = write_clip(tmp_path / "a.mp4", seconds=1.0, audio_seconds=4.0,
                      video_input=("-itsoffset", "3"))  # fmt: skip
    with pytest.raises(ClipError, match=r"decode_error: a picture at 3.000 s of 1.000 s"):
        make_row(str(path))


@pytest.mark.parametrize("seed", range(20))
def test_bounds_are_those_of_the_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1 << 16, (9, 5)).astype(np.uint16).view(np.float16)
    if seed % 2:
        values = np.where(np.isfinite(values), values, np.float16(0)) * np.float16(seed % 3 - 1)
    finite, least, largest = bounds(values)
    assert finite == bool(np.isfinite(values).all())
    if finite:
        assert least == min(values.min(), 0) and largest == max(values.max(), 0)
