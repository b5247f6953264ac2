"""The spectrogram is scipy's, on any sound; the parity vectors were computed independently."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from avpipe.stages.spectrogram import FRONT_ENDS, log_spectrogram, resample
from numpy.typing import NDArray

TIMES = np.arange(66150) / 22050
RANDOM = np.random.default_rng(3)
SIGNALS = {
    "noise": RANDOM.uniform(-1, 1, 66150),
    "full scale sine": np.sin(2 * np.pi * 440 * TIMES),
    "sine between bins, on a constant": 0.5 * np.sin(2 * np.pi * 450.7 * TIMES) + 0.5,
    "square": np.sign(np.sin(2 * np.pi * 440 * TIMES)),
    "constant": np.ones(66150),
    "silence": np.zeros(66150),
    "one sample": np.eye(1, 66150, 30000)[0],
    "noise of -120 dB": RANDOM.normal(0, 1e-6, 66150),
    "noise of -120 dB on a constant": 0.999 + RANDOM.normal(0, 1e-6, 66150),
    "Nyquist": (-1.0) ** np.arange(66150),
    "ramp": np.linspace(-1, 1, 66150),
    "far beyond full scale": RANDOM.normal(0, 1e4, 66150),
    "absurdly loud": RANDOM.normal(0, 1e30, 66150),
}


def by_scipy(waveform: NDArray[np.float64], rate_hz: int, hop: int) -> NDArray[np.float64]:
    power = scipy.signal.spectrogram(waveform, rate_hz, nperseg=512, noverlap=512 - hop)[2]
    return np.log(power + 1e-7)


@pytest.mark.parametrize("kind", [kind for kind, one in FRONT_ENDS.items() if not one.mel])
@pytest.mark.parametrize("name", SIGNALS)
def test_equals_scipy(name: str, kind: str) -> None:
    front_end = FRONT_ENDS[kind]
    waveform = SIGNALS[name].astype(np.float32)
    expected = by_scipy(waveform.astype(np.float64), front_end.rate_hz, front_end.hop)
    result = log_spectrogram(waveform, kind)
    assert result.dtype == np.float32
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "rate_hz", "samples", "shape", "statistics", "places"),
    [
        (
            "257x276",
            22050,
            66150,
            (257, 276),
            (-1.310997705, -1.343174638, -0.505030648),
            {
                (0, 0): -1.179002789,
                (10, 0): -0.505046883,
                (14, 7): -0.951791816,
                (70, 100): -0.788390663,
                (256, -1): -1.343174638,
            },
        ),
        (
            "16k-257x299",
            16000,
            48000,
            (257, 299),
            (-1.306873019, -1.343174638, -0.469575863),
            {
                (0, 0): -1.333928009,
                (10, 0): -0.916807211,
                (14, 7): -0.469576694,
                (70, 100): -1.343170593,
                (256, -1): -1.343174638,
            },
        ),
    ],
)
def test_parity_vectors(
    kind: str,
    rate_hz: int,
    samples: int,
    shape: tuple[int, int],
    statistics: tuple[float, float, float],
    places: dict[tuple[int, int], float],
) -> None:
    n = np.arange(samples)
    waveform = (
        0.5 * np.sin(2 * np.pi * 440 * n / rate_hz)
        + 0.1 * np.cos(2 * np.pi * 3000 * n / rate_hz)
        + 0.05
    )
    scaled = log_spectrogram(waveform, kind).astype(np.float64) / 12
    assert scaled.shape == shape
    assert (scaled.mean(), scaled.min(), scaled.max()) == pytest.approx(statistics, abs=1e-7)
    assert {place: scaled[place] for place in places} == pytest.approx(places, abs=1e-7)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("257x276", 276),
        ("257x300", 300),
        ("16k-257x200", 200),
        ("16k-257x299", 299),
        ("16k-257x671", 671),
        ("16k-257x1004", 1004),
    ],
)
def test_columns(kind: str, columns: int) -> None:
    front_end = FRONT_ENDS[kind]
    window = np.zeros(front_end.window_samples, np.float32)
    wide = np.zeros(front_end.wide_samples, np.float32)
    assert log_spectrogram(window, kind).shape == (257, columns) == (257, front_end.num_columns)
    assert log_spectrogram(wide, kind).shape == (257, front_end.wide_columns)


def test_the_default_wide_window() -> None:
    front_end = FRONT_ENDS["257x276"]
    assert (front_end.wide_samples, front_end.wide_columns, front_end.margin) == (110_418, 462, 93)
    wide = RANDOM.uniform(-1, 1, front_end.wide_samples).astype(np.float32)
    centre = wide[93 * 238 : 93 * 238 + front_end.window_samples]
    np.testing.assert_array_equal(log_spectrogram(wide)[:, 93:369], log_spectrogram(centre))


def test_leading_dimensions() -> None:
    batch = RANDOM.uniform(-1, 1, (2, 3, 2000)).astype(np.float32)
    result = log_spectrogram(batch)
    assert result.shape == (2, 3, 257, 7)
    np.testing.assert_array_equal(result[1, 2], log_spectrogram(batch[1, 2]))
    assert log_spectrogram(batch[:0]).shape == (0, 3, 257, 7)


def test_sine_lies_in_its_bin() -> None:
    for bin_number in (5, 100, 250):
        sine = np.sin(2 * np.pi * bin_number * 22050 / 512 * TIMES)
        assert set(log_spectrogram(sine).argmax(axis=0)) == {bin_number}


def test_refusals() -> None:
    with pytest.raises(ValueError, match="unknown spectrogram"):
        log_spectrogram(np.zeros(1000), "80x100")
    with pytest.raises(ValueError, match="at least 512"):
        log_spectrogram(np.zeros(511))


@pytest.mark.parametrize("from_hz", [8000, 16000, 22050, 44100, 48000, 192000])
def test_resample_keeps_time_and_pitch(from_hz: int) -> None:
    sine = np.sin(2 * np.pi * 440 * np.arange(from_hz) / from_hz).astype(np.float32)
    result = resample(sine, from_hz, 22050, 22050)
    expected = np.sin(2 * np.pi * 440 * TIMES[:22050])
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[500:-500], expected[500:-500], atol=1e-3)


def test_resample_pads_and_cuts() -> None:
    ones = np.ones(100, np.float32)
    np.testing.assert_array_equal(resample(ones, 16000, 16000, 40), ones[:40])
    np.testing.assert_array_equal(resample(ones, 16000, 16000, 120), [*ones, *np.zeros(20)])
