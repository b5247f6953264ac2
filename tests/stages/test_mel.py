"""The mel front-end is librosa's, as DSOL calls it; and a loop over bands and frequencies."""

import math
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.stages.mel import mel_bands, mel_decibels
from avpipe.stages.spectrogram import FRONT_ENDS, log_spectrogram
from avpipe.train import load_run
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.export import export_run
from cache_factory import make_cache
from evaluation_factory import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

KIND = "16k-mel64"
RNG = np.random.default_rng(0)
TIMES = np.arange(16_000) / 16_000
SIGNALS = {
    "noise": RNG.uniform(-1, 1, 16_000),
    "sine": 0.5 * np.sin(2 * np.pi * 440 * TIMES),
    "sine in silence": np.sin(2 * np.pi * 3000 * TIMES) * (TIMES > 0.7),
    "silence": np.zeros(16_000),
    "one sample": np.eye(1, 16_000, 8000)[0],
    "faint": RNG.normal(0, 1e-7, 16_000),
    "loud": RNG.normal(0, 1e4, 16_000),
    "two seconds": RNG.uniform(-1, 1, 32_000),
    "short": RNG.uniform(-1, 1, 700),
}


def by_librosa(waveform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Magnitudes, not powers, through the mel bands and into decibels."""
    magnitude = np.abs(
        librosa.stft(waveform, n_fft=160, hop_length=80, window="hann", center=True,
                     pad_mode="constant")
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that bands are empty
        mel = librosa.feature.melspectrogram(S=magnitude, sr=16_000, n_mels=64, fmax=8000)
    return librosa.power_to_db(mel, top_db=80)


@pytest.mark.parametrize("name", SIGNALS)
def test_equals_librosa(name: str) -> None:
    waveform = SIGNALS[name]
    found = log_spectrogram(waveform, KIND)
    assert found.dtype == np.float32 and found.shape == (64, 1 + len(waveform) // 80)
    np.testing.assert_allclose(found, by_librosa(waveform), atol=2e-3)


def test_bands_equal_librosas() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = librosa.filters.mel(sr=16_000, n_fft=160, n_mels=64, fmin=0, fmax=8000)
    np.testing.assert_allclose(mel_bands(16_000), own, atol=1e-8)
    assert (mel_bands(16_000).sum(1) == 0).sum() == (own.sum(1) == 0).sum() > 0


@settings(max_examples=15)
@given(st.lists(st.sampled_from([0.0, -1.0, 0.5, 1e-6]), min_size=80, max_size=200))
def test_equals_a_loop(samples: list[float]) -> None:
    padded = [0.0] * 80 + samples + [0.0] * 80
    bands = mel_bands(16_000)
    columns = []
    for start in range(0, len(padded) - 159, 80):
        window = [
            (0.5 - 0.5 * math.cos(2 * math.pi * i / 160)) * padded[start + i] for i in range(160)
        ]
        magnitudes = []
        for k in range(81):
            real = sum(v * math.cos(2 * math.pi * k * i / 160) for i, v in enumerate(window))
            imaginary = sum(v * math.sin(2 * math.pi * k * i / 160) for i, v in enumerate(window))
            magnitudes.append(math.hypot(real, imaginary))
        columns.append(
            [10 * math.log10(max(1e-10, float(np.dot(band, magnitudes)))) for band in bands]
        )
    peak = max(map(max, columns))
    own = [[max(value, peak - 80) for value in column] for column in columns]
    found = mel_decibels(np.array(samples), 16_000, 80)
    np.testing.assert_allclose(found.T, own, atol=1e-3)


def test_silence_noise_and_batches() -> None:
    front_end = FRONT_ENDS[KIND]
    assert (front_end.window_samples, front_end.wide_columns, front_end.num_bins) == (
        16_000,
        201,
        64,
    )
    assert np.unique(log_spectrogram(SIGNALS["silence"], KIND)) == front_end.silence == -100
    both = np.stack([SIGNALS["sine"], SIGNALS["loud"]])
    found = log_spectrogram(both, KIND)
    for one, own in zip(found, both, strict=True):  # the peak is that of each sound
        np.testing.assert_array_equal(one, log_spectrogram(own, KIND))
    broken = SIGNALS["noise"].copy()
    broken[3] = np.nan
    assert np.isnan(log_spectrogram(broken, KIND)).any()


@pytest.mark.usefixtures("one_thread")
def test_a_run_hears_it_from_any_cache(tmp_path: Path) -> None:
    """From the cache's sound, and from a cache that holds it: the middle second, to 16 bits."""
    cache = make_cache(tmp_path / "cache", 10)
    recipe = load_recipe("compact", [*TINY, "epochs=1", f"spectrogram={KIND}", "audio_pool=1"])
    train(cache, recipe, tmp_path / "run", device="cpu")
    found = load_run(tmp_path / "run", "cpu")
    clip = cache.clip("clip003")
    assert clip.waveform is not None
    own = found.upsample(found.maps(cache, [clip.row]))[0]
    alone = found.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
    np.testing.assert_allclose(own, alone, atol=2e-2)
    assert found.window_s == 1.0
    page = export_run(tmp_path / "run", tmp_path / "out")["description"].read_text()
    assert "64 // pool" in page and "mel bands" in page
    stored = make_cache(tmp_path / "mel", 10, kind=KIND)
    assert Cache(stored.path).clip("clip003").spectrogram_wide.shape == (64, 201)
    np.testing.assert_array_equal(found.maps(stored, [3]).shape, found.maps(cache, [3]).shape)
