"""The sound of a synthetic clip: one steady timbre in noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scenes import DURATION_S
from .world import Timbre

RATE_HZ = 44100
NUM_SAMPLES = RATE_HZ * DURATION_S
Wave = NDArray[np.floating[Any]]


def waveform(timbre: Timbre, rng: np.random.Generator) -> NDArray[np.float32]:
    """Play a timbre for 4 s at 44.1 kHz.

    The law is the same from the first second to the last. From clip to clip, pitch and rate vary by
    a few percent, and so do phase, level, signal-to-noise ratio (8 to 20 dB) and, in the half of
    the clips that are stereo, the balance. Nothing depends on the picture.

    Returns:
        (1 or 2 channels, 176400) float32 in [-1, 1].
    """
    time_s = np.arange(NUM_SAMPLES) / RATE_HZ
    band_hz = timbre.band_hz * np.exp(rng.normal(0, 0.015))
    rate_hz = timbre.rate_hz * np.exp(rng.normal(0, 0.03))
    beat = rate_hz * time_s + rng.random()
    match timbre.family:
        case "harmonic":
            wave = _harmonic(timbre, band_hz, rng) * (1 + 0.6 * np.sin(2 * np.pi * beat))
        case "warble":
            wave = _warble(timbre, band_hz, rate_hz, time_s, beat)
        case "noise":
            wave = _band_noise(timbre, band_hz, rng) * _gate(beat)
        case "sweep":
            octaves = (1 if timbre.detail < 0.5 else -1) * (beat % 1 - 0.5)
            wave = np.sin(2 * np.pi * np.cumsum(band_hz * 2**octaves) / RATE_HZ)
        case "click":
            since_s = (2 * beat % 1) / (2 * rate_hz)
            wave = np.exp(-since_s / 0.012) * np.sin(2 * np.pi * band_hz * since_s)
        case "chord":
            wave = _chord(timbre, band_hz, rng) * _gate(beat / 2)
        case other:
            raise ValueError(f"unknown family of sounds: {other}")
    wave = wave / wave.std() + room_noise(rng) * 10 ** (-rng.uniform(8, 20) / 20)
    wave *= rng.uniform(0.3, 0.9) / np.abs(wave).max()
    balance = np.array([0.0])
    if rng.random() < 0.5:
        balance = rng.uniform(-0.1, 0.1) * np.array([1.0, -1.0])
    samples: NDArray[np.float32] = ((1 + balance)[:, None] * wave).astype(np.float32)
    return samples


def _tones(tones_hz: Wave, amplitudes: Wave, rng: np.random.Generator) -> Wave:
    """Sum sines of random phase, each at the nearest multiple of 1 / (4 s)."""
    spectrum = np.zeros(NUM_SAMPLES // 2 + 1, complex)
    phases = np.exp(2j * np.pi * rng.random(len(tones_hz)))
    spectrum[np.rint(tones_hz * DURATION_S).astype(int)] = amplitudes * phases
    return np.fft.irfft(spectrum, NUM_SAMPLES) * NUM_SAMPLES


def _harmonic(timbre: Timbre, band_hz: float, rng: np.random.Generator) -> Wave:
    """A stack of harmonics below 10 kHz, loudest around the band."""
    base_hz = band_hz / (2 + int(4 * timbre.detail))
    tones_hz = base_hz * np.arange(1, int(10000 / base_hz) + 1)
    return _tones(tones_hz, np.exp(-0.5 * (np.log2(tones_hz / band_hz) / 0.6) ** 2), rng)


def _chord(timbre: Timbre, band_hz: float, rng: np.random.Generator) -> Wave:
    """Three tones whose ratios belong to the class."""
    ratios = np.array([1, 1.25 + 0.2 * timbre.detail, 1.7 + 0.5 * timbre.detail])
    return _tones(band_hz * ratios, np.ones(3), rng)


def _warble(timbre: Timbre, band_hz: float, rate_hz: float, time_s: Wave, beat: Wave) -> Wave:
    """A tone whose frequency swings by 20 to 40 % of the band."""
    swing_hz = band_hz * (0.2 + 0.2 * timbre.detail)
    phase = 2 * np.pi * band_hz * time_s + swing_hz / rate_hz * np.sin(2 * np.pi * beat)
    wave: Wave = np.sin(phase)
    return wave


def _band_noise(timbre: Timbre, band_hz: float, rng: np.random.Generator) -> Wave:
    """Noise of a third to a whole octave."""
    half_octaves = 0.17 + 0.33 * timbre.detail
    low = int(band_hz * 2**-half_octaves * DURATION_S)
    high = int(band_hz * 2**half_octaves * DURATION_S)
    spectrum = np.zeros(NUM_SAMPLES // 2 + 1, complex)
    spectrum[low:high] = rng.standard_normal((high - low, 2)) @ [1, 1j]
    return np.fft.irfft(spectrum, NUM_SAMPLES)


def _gate(beat: Wave) -> Wave:
    """Open for half of each beat with soft edges, nearly shut for the other half."""
    gain: Wave = 0.06 + 0.94 / (1 + np.exp(-12 * np.sin(2 * np.pi * beat)))
    return gain


def room_noise(rng: np.random.Generator) -> Wave:
    """Noise of unit power that falls by 3 dB an octave above 200 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(NUM_SAMPLES, np.float32))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 200 * DURATION_S))
    noise: Wave = np.fft.irfft(spectrum, NUM_SAMPLES)
    noise /= noise.std()
    return noise
