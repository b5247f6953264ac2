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
    _runs: list[tuple[int, list[Channels]]] = field(default_factory=list)
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
        follows = self._runs and abs(index - self._next) <= _JITTER_S * rate_hz
        if follows and len(self._runs[-1][1][-1]) == len(samples):
            self._runs[-1][1].append(samples)
            self._next += len(samples[0])
        else:
            index = self._next if follows else index
            self._runs.append((index, [samples]))
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
        for index, pieces in self._runs:
            mono = _mono([np.concatenate(channel) for channel in zip(*pieces, strict=True)])
            low, high = max(index, 0), min(index + len(mono), total)
            if low < high:
                result[low:high] = mono[low - index : high - index]
                filled_from, filled_to = min(filled_from, low), max(filled_to, high)
        result = result[filled_from:filled_to]
        if not np.isfinite(result).all():
            raise ClipError(Reason.DECODE_ERROR, "sound with samples that are not finite numbers")
        return result, self.first_s + filled_from / max(self.rate_hz, 1)


def _mono(channels: Channels) -> NDArray[np.float32]:
    """Return the mean over (n,) channels; integers become [-1, 1]."""
    dtype = channels[0].dtype
    is_float, full_scale = dtype.kind == "f", 1 << (8 * dtype.itemsize - 1)
    mono: NDArray[Any] = channels[0].astype(dtype if is_float else np.float64)
    for channel in channels[1:]:
        mono += channel
    mono /= len(channels)
    if not is_float:
        mono = (mono - full_scale if dtype.kind == "u" else mono) / full_scale
    return mono.astype(np.float32, copy=False)
