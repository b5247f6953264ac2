"""Log-spectrograms with scipy's definition, and the resampling in front of them.

The spectrogram is `scipy.signal.spectrogram` with its defaults (periodic Tukey window, every
segment minus its own mean, one-sided power density, no padding), computed with numpy alone. Every
front-end of the family is one entry of `FRONT_ENDS`; they differ in rate and hop only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

SEGMENT = 512
"""Samples per segment, hence 257 frequencies."""

NUM_BINS = SEGMENT // 2 + 1
FLOOR = 1e-7
"""Added before the logarithm, as SLAVC, EZ-VSL and LVS do: silence becomes -16.118."""

_BLOCK = 64  # columns transformed at a time: the intermediate arrays stay in the processor's cache
_TAPER = (
    SEGMENT // 8
)  # scipy's default Tukey window tapers a quarter of the segment, an eighth on each side

# Kept on each side of a 3 s window for the time-shift view: 1.004 s at 22.05 kHz and hop 238.
_MARGIN_COLUMNS = 93


@dataclass(frozen=True)
class FrontEnd:
    """How one kind of spectrogram is cut from sound.

    Attributes:
        name: The kind, `257x276` for example.
        rate_hz: Sampling rate the sound is brought to.
        hop: Samples from one column to the next.
        num_columns: Columns of the centred window.
        window_s: Length of the centred window in seconds.
        margin: Columns stored on each side of the window.
    """

    name: str
    rate_hz: int
    hop: int
    num_columns: int
    window_s: float
    margin: int

    @property
    def window_samples(self) -> int:
        """Samples of the centred window at `rate_hz`."""
        return round(self.rate_hz * self.window_s)

    @property
    def wide_columns(self) -> int:
        """Columns of the wide spectrogram: the window and both margins."""
        return self.num_columns + 2 * self.margin

    @property
    def wide_samples(self) -> int:
        """Samples under the wide spectrogram at `rate_hz`."""
        return self.window_samples + 2 * self.margin * self.hop


FRONT_ENDS = {
    front_end.name: front_end
    for front_end in (
        FrontEnd(
            "257x276", 22050, 238, 276, 3.0, _MARGIN_COLUMNS
        ),  # SLAVC, EZ-VSL, audio-visual distillation
        FrontEnd(
            "257x300", 22050, 219, 300, 3.0, _MARGIN_COLUMNS
        ),  # the size the SLAVC paper states
        FrontEnd("16k-257x200", 16000, 238, 200, 3.0, _MARGIN_COLUMNS),  # LVS and FNAC at 16 kHz
        FrontEnd("16k-257x299", 16000, 159, 299, 3.0, _MARGIN_COLUMNS),  # multi-positive alignment
        FrontEnd(
            "16k-257x1004", 16000, 159, 1004, 10.0, 0
        ),  # VGGSound's classifier hears the whole 10 s
    )
}


def _window() -> NDArray[np.float64]:
    """Return the periodic Tukey window, (512,), scaled: |rfft|^2 is the density times the rate."""
    ramp = np.arange(_TAPER) / _TAPER
    window = np.ones(SEGMENT)
    window[:_TAPER] = 0.5 * (1 + np.cos(np.pi * (ramp - 1)))
    window[-_TAPER + 1 :] = window[_TAPER - 1 : 0 : -1]
    window /= np.sqrt(np.sum(window**2))
    return window


_WINDOW = _window()


def log_spectrogram(waveform: ArrayLike, kind: str = "257x276") -> NDArray[np.float32]:
    """Return the natural logarithm of the power spectral density, plus 1e-7, of mono sound.

    Computed in float64: numpy's float64 transform is both the faster and the more accurate one.

    Args:
        waveform: (..., L) samples at the rate of the kind, nominally in [-1, 1], L >= 512.
        kind: A name of `FRONT_ENDS`; it sets rate and hop.

    Returns:
        (..., 257, T) float32, T = (L - 512) // hop + 1: 276 columns for 3 s of the default kind.

    Raises:
        ValueError: The kind is unknown, or there are fewer than 512 samples.
    """
    if kind not in FRONT_ENDS:
        raise ValueError(f"unknown spectrogram {kind!r}: choose one of {', '.join(FRONT_ENDS)}")
    samples = np.asarray(waveform)
    if samples.ndim == 0 or samples.shape[-1] < SEGMENT:
        raise ValueError(f"a spectrogram needs at least {SEGMENT} samples, got {samples.shape}")
    front_end = FRONT_ENDS[kind]
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
