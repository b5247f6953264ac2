"""Sound promotion's front-end: mel bands of the magnitude spectrum, in decibels.

As DSOL (Hu et al., NeurIPS 2020), on which sound promotion builds, computes it with librosa: the
magnitudes of a short-time transform (periodic Hann window, a window of zeros around the sound) are
summed in mel bands (Slaney's scale, bands of equal area), and brought to decibels as if they were
powers, at most 80 below the loudest.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .front_ends import LEAST as LEAST
from .front_ends import NUM_BANDS

NUM_FFT = 160
TOP_DB = 80.0
_BREAK_HZ, _LINEAR_HZ = 1000.0, 200.0 / 3
_LOG_STEP = np.log(6.4) / 27


def mel_decibels(waveform: NDArray[Any], rate_hz: int, hop: int) -> NDArray[np.float32]:
    """Return mel bands of sound in decibels.

    Args:
        waveform: `(..., L)`, L >= 1.
        rate_hz: Its rate; bands reach to half of it.
        hop: Samples from one column to the next.

    Returns:
        `(..., 64, 1 + L // hop)` float32; within 80 dB of the largest value of each sound.
    """
    sound = np.asarray(waveform, np.float64)
    around = [(0, 0)] * (sound.ndim - 1) + [(NUM_FFT // 2, NUM_FFT // 2)]
    segments = sliding_window_view(np.pad(sound, around), NUM_FFT, axis=-1)[..., ::hop, :]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(NUM_FFT) / NUM_FFT)
    magnitude = np.abs(np.fft.rfft(segments * hann))
    bands = np.swapaxes(magnitude @ mel_bands(rate_hz).T, -1, -2)
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(bands, LEAST))
    peak = decibels.max((-1, -2), keepdims=True, initial=-np.inf)
    found: NDArray[np.float32] = np.maximum(decibels, peak - TOP_DB).astype(np.float32)
    return found


@cache
def mel_bands(rate_hz: int) -> NDArray[np.float64]:
    """Return the weights of frequencies in each band, `(64, 81)`: triangles of equal area.

    Slaney's scale: linear below 1000 Hz, logarithmic above. Some of the lowest bands lie between
    two frequencies and are empty, as they are in librosa.
    """
    ends = _edges_hz(rate_hz / 2)
    frequencies = np.linspace(0, rate_hz / 2, NUM_FFT // 2 + 1)
    low, middle, high = ends[:-2, None], ends[1:-1, None], ends[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)


def _edges_hz(top_hz: float) -> NDArray[np.float64]:
    """Return 66 frequencies, evenly spaced in mel, from 0 to the top."""
    break_mel = _BREAK_HZ / _LINEAR_HZ
    top_mel = break_mel + np.log(top_hz / _BREAK_HZ) / _LOG_STEP
    mel = np.linspace(0, top_mel, NUM_BANDS + 2)
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (mel - break_mel))
    return np.where(mel < break_mel, mel * _LINEAR_HZ, logarithmic)
