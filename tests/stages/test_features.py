"""What the cache stores of a clip, checked against the scene that was encoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from avpipe.errors import ClipError
from avpipe.pipeline.extract.scan import scan
from avpipe.stages.features import FeatureParams, encode_jpeg, make_row
from avpipe.stages.media import decode_clip
from avpipe.stages.spectrogram import FRONT_ENDS, log_spectrogram
from media_factory import (
    picture,
    read_number,
    run_ffmpeg,
    sound,
    sound_time_s,
    write_clip,
    write_wav,
)
from PIL import Image

PCM = ("-c:a", "pcm_f32le")
HZ = 22050


def clip(folder: Path, **options: Any) -> str:
    options = {
        "rate_hz": HZ,
        "gains": (1,),
        "audio": PCM,
        "fps": 5,
        "video": ("-c:v", "mpeg4", "-q:v", "2"),
    } | options
    return str(write_clip(folder / "a.mov", **options))


def test_a_plain_row(tmp_path: Path) -> None:
    row = make_row(clip(tmp_path, seconds=12.0))
    assert (row["duration_s"], row["frame_pts_s"]) == (12.0, 6.0)
    with Image.open(io.BytesIO(row["frame_jpeg"])) as image:
        assert image.size == (341, 256)
        assert read_number(np.asarray(image)) == 30
    assert row["frame_hw"] == (256, 341)
    assert (row["silent"], row["short"]) == (False, False)
    assert row["spectrogram_wide"].dtype == np.float16
    assert row["spectrogram_wide"].shape == (257, 462)
    assert row["valid_cols"] == (0, 462)
    assert row["waveform"].dtype == np.int16
    assert row["waveform"].shape == (320_000,)
    assert row["frame_sample"] == 160_000


def test_the_wide_spectrogram_is_centred_on_the_frame(tmp_path: Path) -> None:
    """At the front-end's own rate nothing is resampled: the values are the scene's own."""
    row = make_row(clip(tmp_path, seconds=12.0))
    middle, half = 6 * HZ, 110_418 // 2
    expected = log_spectrogram(sound(12.0, HZ)[middle - half : middle + half])
    np.testing.assert_allclose(row["spectrogram_wide"], expected, atol=0.05)
    window = log_spectrogram(sound(12.0, HZ)[middle - 33_075 : middle + 33_075])
    np.testing.assert_allclose(row["spectrogram_wide"][:, 93:369], window, atol=0.05)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
def test_other_rates_are_resampled_in_place(rate_hz: int, tmp_path: Path) -> None:
    row = make_row(clip(tmp_path, seconds=12.0, rate_hz=rate_hz))
    at_rate = soxr.resample(sound(12.0, rate_hz), rate_hz, HZ, quality="VHQ")
    middle, half = 6 * HZ, 110_418 // 2
    expected = log_spectrogram(at_rate[middle - half : middle + half])
    bins = int(0.8 * min(rate_hz, HZ) / 2 / (HZ / 512))  # below where the two filters differ
    np.testing.assert_allclose(row["spectrogram_wide"][1:bins], expected[1:bins], atol=0.15)


def test_the_sound_around_the_frame(tmp_path: Path) -> None:
    row = make_row(clip(tmp_path, seconds=12.0, rate_hz=32000))
    expected = np.rint(sound(12.0, 32000)[32_000:352_000] * 32767)
    np.testing.assert_allclose(row["waveform"], expected, atol=2)
    shorter = make_row(clip(tmp_path, seconds=12.0), params=FeatureParams(audio_seconds=4.0))
    assert (shorter["waveform"].shape, shorter["frame_sample"]) == ((128_000,), 64_000)
    np.testing.assert_array_equal(shorter["spectrogram_wide"].shape, (257, 462))
    assert shorter["valid_cols"] == (0, 462)


def test_less_sound_than_the_margins(tmp_path: Path) -> None:
    """Of a 4 s clip the window is whole, and so are 0.5 s of each margin."""
    row = make_row(clip(tmp_path, seconds=4.0))
    lead = (110_418 - 4 * HZ) / 2  # samples of the wide window that the clip does not have
    low, high = row["valid_cols"]
    assert low == pytest.approx(lead / 238, abs=1)
    assert low * 238 >= lead - 1
    assert (high - 1) * 238 + 512 <= lead + 4 * HZ + 1
    assert high * 238 + 512 > lead + 4 * HZ
    np.testing.assert_array_equal(row["spectrogram_wide"][:, 0], np.float16(np.log(1e-7)))
    np.testing.assert_array_equal(row["spectrogram_wide"][:, -1], np.float16(np.log(1e-7)))
    assert not row["short"]
    assert (len(row["waveform"]), row["frame_sample"]) == (128_000, 64_000)


def test_a_window_beyond_the_sound_is_moved(tmp_path: Path) -> None:
    """Of 8 s of pictures only the first 4.5 s have sound: the window ends with it."""
    path = clip(tmp_path, seconds=8.0, audio_seconds=4.5)
    row = make_row(path)
    window = log_spectrogram(sound(4.5, HZ)[round(1.5 * HZ) :])
    np.testing.assert_allclose(row["spectrogram_wide"][:, 93:369], window, atol=0.05)
    assert row["valid_cols"] == (0, 369)
    assert row["frame_sample"] == 4 * 32000
    assert len(row["waveform"]) == round(4.5 * 32000)


def test_short_clips_are_tiled(tmp_path: Path) -> None:
    """The issue's 2 s clip: its sound is repeated from its first sample."""
    row = make_row(clip(tmp_path, seconds=2.0))
    assert row["short"]
    assert row["valid_cols"] == (93, 369)
    tiled = np.resize(sound(2.0, HZ), 3 * HZ)
    wide = np.zeros(110_418, np.float32)
    wide[93 * 238 : 93 * 238 + 3 * HZ] = tiled
    np.testing.assert_allclose(row["spectrogram_wide"], log_spectrogram(wide), atol=0.05)
    assert (len(row["waveform"]), row["frame_sample"]) == (64_000, 32_000)


def test_a_span_of_a_longer_file(tmp_path: Path) -> None:
    path = clip(tmp_path, seconds=20.0)
    row = make_row(path, start_s=3.0, seconds=4.0)
    assert (row["frame_pts_s"], row["duration_s"]) == (5.0, 20.0)
    assert len(row["waveform"]) == 4 * 32000
    assert sound_time_s(row["waveform"] / np.float32(32767), 32000, 20.0) == pytest.approx(
        3, abs=0.001
    )
    default = make_row(path, start_s=3.0)
    assert default["frame_pts_s"] == 8.0
    assert len(default["waveform"]) == 10 * 32000


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_every_front_end(kind: str, tmp_path: Path) -> None:
    front_end = FRONT_ENDS[kind]
    path = clip(tmp_path, seconds=12.0, rate_hz=front_end.rate_hz)
    row = make_row(path, params=FeatureParams(spectrogram=kind))
    assert row["spectrogram_wide"].shape == (front_end.num_bins, front_end.wide_columns)
    assert row["valid_cols"] == (0, front_end.wide_columns)
    samples = sound(12.0, front_end.rate_hz)
    begin = (len(samples) - front_end.window_samples) // 2
    window = log_spectrogram(samples[begin : begin + front_end.window_samples], kind)
    centre = row["spectrogram_wide"][:, front_end.margin : front_end.margin + front_end.num_columns]
    np.testing.assert_allclose(centre, window, atol=0.5 if front_end.mel else 0.05)  # dB


def test_ten_seconds_are_tiled_too(tmp_path: Path) -> None:
    """VGGSound's classifier tiles what is under its 10 s."""
    path = clip(tmp_path, seconds=4.0, rate_hz=16000)
    row = make_row(path, params=FeatureParams(spectrogram="16k-257x1004"))
    assert row["short"]
    assert row["valid_cols"] == (0, 1004)
    expected = log_spectrogram(np.resize(sound(4.0, 16000), 160_000), "16k-257x1004")
    np.testing.assert_allclose(row["spectrogram_wide"], expected, atol=0.05)


@pytest.mark.parametrize(("amplitude", "silent"), [(0.0, True), (0.0013, True), (0.0015, False)])
def test_silence_is_under_60_db(amplitude: float, silent: bool, tmp_path: Path) -> None:
    sine = amplitude * np.sin(2 * np.pi * 441 * np.arange(4 * HZ) / HZ).astype(np.float32)
    path = clip(tmp_path, waveform=sine)
    assert make_row(path)["silent"] is silent


def test_loud_float_sound_is_clipped_only_as_integers(tmp_path: Path) -> None:
    path = clip(tmp_path, seconds=4.0, output=("-af", "volume=40"))
    row = make_row(path)
    assert row["waveform"].max() == 32767
    assert row["waveform"].min() == -32767
    window = log_spectrogram(40 * sound(4.0, HZ)[HZ // 2 : HZ // 2 + 3 * HZ])
    np.testing.assert_allclose(row["spectrogram_wide"][:, 93:369], window, atol=0.05)


@pytest.mark.parametrize("audio_seconds", [1.0, 10.0])
@pytest.mark.parametrize("rate_hz", [8000, 44100])
def test_sound_that_overflows_is_refused(
    rate_hz: int, audio_seconds: float, tmp_path: Path
) -> None:
    """Finite samples near the largest float32: the resampler makes infinite ones of them."""
    signs = np.sign(np.random.default_rng(0).standard_normal(4 * rate_hz))
    (tmp_path / "loud.f32").write_bytes((3.3e38 * signs).astype("<f4").tobytes())
    raw = ("-f", "f32le", "-ar", str(rate_hz), "-ac", "1", "-i", tmp_path / "loud.f32")
    path = tmp_path / "b.mkv"
    run_ffmpeg("-i", clip(tmp_path, audio=None), *raw, *("-c:v", "copy", "-c:a", "pcm_f32le"), path)
    with pytest.raises(ClipError, match="decode_error: sound too loud"):
        make_row(str(path), params=FeatureParams(audio_seconds=audio_seconds))


def test_rows_are_the_same_each_time(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4"))
    first, second = make_row(path), make_row(path)
    assert first["frame_jpeg"] == second["frame_jpeg"]
    np.testing.assert_array_equal(first["spectrogram_wide"], second["spectrogram_wide"])
    np.testing.assert_array_equal(first["waveform"], second["waveform"])


def test_jpeg_is_near_its_picture() -> None:
    frame = picture(1234, (320, 240))
    with Image.open(io.BytesIO(encode_jpeg(frame))) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert np.abs(np.asarray(image).astype(float) - frame).mean() < 3


def test_the_row_agrees_with_the_clip(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4"))
    row, decoded = make_row(path), decode_clip(path)
    assert row["frame_jpeg"] == encode_jpeg(decoded.frame)
    assert (row["frame_pts_s"], row["duration_s"]) == (decoded.frame_pts_s, decoded.duration_s)


def test_failures_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="missing"):
        make_row(str(tmp_path / "gone.mp4"))


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize("name", ["frames/7.jpg", "frames/7 %03d.jpg"])
def test_a_real_picture_beside_its_sound(tmp_path: Path, decoder: str, name: str) -> None:
    """FFmpeg takes a larger file for numbered pictures, by its name."""
    frame, wav = tmp_path / name, tmp_path / name.replace("frames", "audio").replace("jpg", "wav")
    frame.parent.mkdir()
    wav.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 60, (480, 640, 1), np.uint8)
    Image.fromarray(picture(9, (640, 480)) // 2 + noise).save(frame, quality=95)
    assert frame.stat().st_size > 20_000
    write_wav(wav, sound(4.0, HZ)[None], HZ)
    (clip,) = scan([str(tmp_path)]).candidates
    assert clip.audio_path is not None
    row = make_row(
        str(Path(clip.root) / clip.path),
        audio_path=str(Path(clip.root) / clip.audio_path),
        params=FeatureParams(decoder=decoder),
    )
    with Image.open(io.BytesIO(row["frame_jpeg"])) as image:
        stored = np.asarray(image)
    assert stored.shape == (256, 341, 3)
    assert read_number(stored) == 9
    assert row["duration_s"] == pytest.approx(4.0, abs=1e-3)
    assert len(row["waveform"]) == pytest.approx(4 * 32000, abs=2)
