"""Decoded pieces of sound become one mono waveform. Both decoders share this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ClipError, Reason

PREROLL_S = 0.25
"""Decoded ahead of what is kept: transforms overlap, MP3 frames borrow bits from earlier ones."""

MAX_RATE_HZ = 768_000

# Time stamps rounded to milliseconds stray this far from a continuous waveform, and no further.
_JITTER_S = 0.015


Channels = Sequence[NDArray[Any]]


@dataclass
class _Run:
    """Pieces without a gap, the channels of each summed: adding keeps no decoder's memory."""

    index: int
    num_channels: int
    dtype: np.dtype[Any]
    pieces: list[NDArray[Any]]


@dataclass
class SoundWindow:
    """Collects decoded pieces that fall into [first_s, last_s).

    Pieces follow each other without a gap as long as their time stamps stray no more than
    containers round them; a larger jump is a real gap (left as silence) or an overlap (the later
    piece wins).

    Attributes:
        first_s: Start of the window.
        last_s: End of the window.
        rate_hz: Sampling rate, that of the first piece; 0 before it.
    """

    first_s: float
    last_s: float
    rate_hz: int = 0
    _runs: list[_Run] = field(default_factory=list)
    _next: int = 0

    def add(self, samples: Channels, rate_hz: int, time_s: float | None) -> None:
        """Take one piece.

        Args:
            samples: (n,) samples of each channel, float or integer of full scale.
            rate_hz: Its sampling rate; a piece at another rate than the first is left out.
            time_s: Time of its first sample; None where the file does not say: it follows the
                piece before it.

        Raises:
            ClipError: decode_error when the sampling rate is absurd.
        """
        if not self.rate_hz:
            if not 0 < rate_hz <= MAX_RATE_HZ:
                raise ClipError(Reason.DECODE_ERROR, f"sound at {rate_hz} Hz")
            self.rate_hz = rate_hz
        if rate_hz != self.rate_hz or (time_s is None and not self._runs):
            return
        index = self._next if time_s is None else round((time_s - self.first_s) * rate_hz)
        run = self._runs[-1] if self._runs else None
        if run and abs(index - self._next) <= _JITTER_S * rate_hz:
            index = self._next
            alike = run.num_channels == len(samples) and run.dtype == samples[0].dtype
            run = run if alike else None
        else:
            run = None
        if run is None:
            run = _Run(index, len(samples), samples[0].dtype, [])
            self._runs.append(run)
        run.pieces.append(_summed(samples))
        self._next = index + len(samples[0])

    def waveform(self) -> tuple[NDArray[np.float32], float]:
        """Return the sound as (n,) float32 mono, and the time of its first sample.

        Empty when no sample fell into the window.

        Raises:
            ClipError: decode_error when samples are not finite.
        """
        total = round((self.last_s - self.first_s) * self.rate_hz)
        result = np.zeros(total, np.float32)
        filled_from, filled_to = total, 0
        for run in self._runs:
            mono = _mono(run)
            low, high = max(run.index, 0), min(run.index + len(mono), total)
            if low < high:
                result[low:high] = mono[low - run.index : high - run.index]
                filled_from, filled_to = min(filled_from, low), max(filled_to, high)
        result = result[filled_from:filled_to]
        if not np.isfinite(result).all():
            raise ClipError(Reason.DECODE_ERROR, "sound with samples that are not finite numbers")
        return result, self.first_s + filled_from / max(self.rate_hz, 1)


def _summed(channels: Channels) -> NDArray[Any]:
    """Return the sum of (n,) channels as a new array, wide enough for it."""
    first = channels[0]
    if first.dtype.kind != "f":
        first = first.astype(np.float64)
    if len(channels) == 1:
        return first.copy()
    total: NDArray[Any] = first + channels[1]
    for channel in channels[2:]:
        total += channel
    return total


def _mono(run: _Run) -> NDArray[np.float32]:
    """Return the mean over a run's channels; integers become [-1, 1]."""
    mono = np.concatenate(run.pieces)
    mono /= run.num_channels
    if run.dtype.kind != "f":
        full_scale = 1 << (8 * run.dtype.itemsize - 1)
        mono = (mono - full_scale if run.dtype.kind == "u" else mono) / full_scale
    return mono.astype(np.float32, copy=False)
