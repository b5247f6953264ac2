"""Log-spectrograms with scipy's definition, and the resampling in front of them.

The spectrogram is `scipy.signal.spectrogram` with its defaults (periodic Tukey window, every
segment minus its own mean, one-sided power density, no padding), computed with numpy alone. Every
front-end of the family is one entry of `FRONT_ENDS`; they differ in rate and hop only, but for that
of sound promotion, which is of mel bands (`mel`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ..cache.defaults import SPECTROGRAM
from .front_ends import FLOOR as FLOOR
from .front_ends import FRONT_ENDS as FRONT_ENDS
from .front_ends import NUM_BINS as NUM_BINS
from .front_ends import SEGMENT as SEGMENT
from .front_ends import FrontEnd as FrontEnd
from .mel import LEAST as LEAST
from .mel import NUM_FFT as NUM_FFT
from .mel import TOP_DB as TOP_DB
from .mel import mel_decibels

CONTEXT_S = 0.05
"""Sound on both sides of a cut that lets the resampler ring before it."""

_BLOCK = 64  # columns transformed at a time: the intermediate arrays stay in the processor's cache
_TAPER = (
    SEGMENT // 8
)  # scipy's default Tukey window tapers a quarter of the segment, an eighth on each side


def _window() -> NDArray[np.float64]:
    """Return the periodic Tukey window, (512,), scaled: |rfft|^2 is the density times the rate."""
    ramp = np.arange(_TAPER) / _TAPER
    window = np.ones(SEGMENT)
    window[:_TAPER] = 0.5 * (1 + np.cos(np.pi * (ramp - 1)))
    window[-_TAPER + 1 :] = window[_TAPER - 1 : 0 : -1]
    window /= np.sqrt(np.sum(window**2))
    return window


_WINDOW = _window()


def log_spectrogram(waveform: ArrayLike, kind: str = SPECTROGRAM) -> NDArray[np.float32]:
    """Return the natural logarithm of the power spectral density, plus 1e-7, of mono sound.

    Computed in float64: numpy's float64 transform is both the faster and the more accurate one.

    Args:
        waveform: (..., L) samples at the rate of the kind, nominally in [-1, 1], L >= 512.
        kind: A name of `FRONT_ENDS`; it sets rate and hop.

    Returns:
        (..., 257, T) float32, T = (L - 512) // hop + 1: 276 columns for 3 s of the default kind. Of
        `16k-mel64` (..., 64, L // 80 + 1) decibels, as `mel.mel_decibels` has them.

    Raises:
        ValueError: The kind is unknown, or there are fewer than 512 samples.
    """
    if kind not in FRONT_ENDS:
        raise ValueError(f"unknown spectrogram {kind!r}: choose one of {', '.join(FRONT_ENDS)}")
    samples = np.asarray(waveform)
    if samples.ndim == 0 or samples.shape[-1] < SEGMENT:
        raise ValueError(f"a spectrogram needs at least {SEGMENT} samples, got {samples.shape}")
    front_end = FRONT_ENDS[kind]
    if front_end.mel:
        return mel_decibels(samples, front_end.rate_hz, front_end.hop)
    segments = sliding_window_view(samples, SEGMENT, axis=-1)[..., :: front_end.hop, :]
    scale = np.full(NUM_BINS, 2 / front_end.rate_hz)
    scale[[0, -1]] /= 2  # neither the constant nor the Nyquist bin has a mirror image
    result = np.empty((*segments.shape[:-2], NUM_BINS, segments.shape[-2]), np.float32)
    for item in np.ndindex(segments.shape[:-2]):
        for start in range(0, segments.shape[-2], _BLOCK):
            columns = slice(start, start + _BLOCK)
            result[item][:, columns] = _log_density(segments[item][columns], scale).T
    return result


def _log_density(segments: NDArray[Any], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(density + 1e-7), (n, 257), of (n, 512) segments."""
    centred = segments.astype(np.float64)
    centred -= centred.mean(axis=-1, keepdims=True)
    centred *= _WINDOW
    spectrum = np.fft.rfft(centred)
    density = np.square(spectrum.real)
    density += np.square(spectrum.imag)
    density *= scale
    density += FLOOR
    return np.log(density, out=density)


def resample(
    waveform: NDArray[np.float32], from_hz: int, to_hz: int, num_samples: int
) -> NDArray[np.float32]:
    """Bring (L,) mono sound to another rate with soxr (HQ) and to an exact length.

    Args:
        waveform: (L,) float32 samples at `from_hz`.
        from_hz: Rate of the input.
        to_hz: Rate of the output.
        num_samples: Length of the result: longer sound is cut at its end, shorter sound is
            followed by zeros.

    Returns:
        (num_samples,) float32; sample i lies i / to_hz seconds after the first input sample.
    """
    converted = waveform
    if from_hz != to_hz:
        converted = soxr.resample(waveform, from_hz, to_hz, quality="HQ")
    result = np.zeros(num_samples, np.float32)
    count = min(num_samples, len(converted))
    result[:count] = converted[:count]
    return result


@dataclass(frozen=True)
class Placement:
    """Where the wide window of a front-end lies in a sound.

    Attributes:
        first: First sample of the sound that the window is made of.
        last: Behind its last.
        index: Where in the window that part begins, once resampled; may be negative.
        low: First sample of the window that holds sound.
        high: Behind its last.
        valid_cols: Half-open range of columns made of the sound alone.
        tiled: The sound is shorter than the centred window and repeated through it.
    """

    first: int
    last: int
    index: int
    low: int
    high: int
    valid_cols: tuple[int, int]
    tiled: bool


def place_window(
    num_samples: int, rate_hz: int, front_end: FrontEnd, *, start_s: float, time_s: float
) -> Placement:
    """Lay the wide window around a moment, moved so that its centre has sound throughout.

    Args:
        num_samples: Length of the sound.
        rate_hz: Its rate.
        front_end: Whose window.
        start_s: When the sound begins, on the same clock as `time_s`.
        time_s: The moment.
    """
    begin = front_end.margin * front_end.hop
    if num_samples < front_end.window_s * rate_hz:
        columns = (front_end.margin, front_end.margin + front_end.num_columns)
        end = begin + front_end.window_samples
        return Placement(0, num_samples, begin, begin, end, columns, tiled=True)
    half_s, wide_s = front_end.window_s / 2, front_end.wide_samples / front_end.rate_hz
    end_s = start_s + num_samples / rate_hz
    centre_s = min(max(time_s, start_s + half_s), end_s - half_s)
    first, last = part_around(num_samples, rate_hz, start_s, centre_s - wide_s / 2, wide_s)
    index = round((start_s + first / rate_hz - centre_s + wide_s / 2) * front_end.rate_hz)
    length = (last - first) * front_end.rate_hz // rate_hz
    low, high = max(index, 0), min(index + length, front_end.wide_samples)
    first_column = min(math.ceil(low / front_end.hop), front_end.margin)
    last_column = max(
        (high - SEGMENT) // front_end.hop + 1, front_end.margin + front_end.num_columns
    )
    return Placement(first, last, index, low, high, (first_column, last_column), tiled=False)


def part_around(
    num_samples: int, rate_hz: int, start_s: float, begin_s: float, length_s: float
) -> tuple[int, int]:
    """Return first and last sample (half-open) of a part of a sound and a little around it.

    Args:
        num_samples: Length of the sound.
        rate_hz: Its rate.
        start_s: When it begins.
        begin_s: When the part begins, on the same clock.
        length_s: How long the part is.
    """
    first = max(math.floor((begin_s - CONTEXT_S - start_s) * rate_hz), 0)
    last = math.ceil((begin_s + length_s + CONTEXT_S - start_s) * rate_hz)
    return first, max(min(last, num_samples), first)


def wide_window(
    waveform: NDArray[np.float32], rate_hz: int, front_end: FrontEnd, placed: Placement
) -> NDArray[np.float32]:
    """Fill a wide window with sound; what is missing is zero.

    Args:
        waveform: `(L,)` mono.
        rate_hz: Its rate.
        front_end: Whose window.
        placed: What `place_window` says of this sound.

    Returns:
        `(wide_samples,)` at the front-end's rate.
    """
    part, to_hz = waveform[placed.first : placed.last], front_end.rate_hz
    wide = np.zeros(front_end.wide_samples, np.float32)
    if placed.tiled:  # from its first sample
        sound = resample(part, rate_hz, to_hz, math.ceil(len(part) * to_hz / rate_hz))
        wide[placed.low : placed.high] = np.resize(sound, placed.high - placed.low)
    else:
        sound = resample(part, rate_hz, to_hz, len(part) * to_hz // rate_hz)
        shift = placed.index
        wide[placed.low : placed.high] = sound[placed.low - shift : placed.high - shift]
    return wide
