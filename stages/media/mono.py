"""Decoded pieces of sound become one mono waveform. Both decoders share this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ClipError, Reason

PREROLL_S = 0.25
"""Decoded ahead of what is kept: transforms overlap, MP3 frames borrow bits from earlier ones."""

OWN_SOUND_S = 3.0
"""So much time around the picture has to hold sound, however much is wanted around it."""

MIN_SOUND_S = 0.032
"""So much sound at least: 512 samples at 16 kHz, a column of every spectrogram."""

MAX_RATE_HZ = 768_000

# Time stamps rounded to milliseconds stray this far from a continuous waveform, and no further.
JITTER_S = 0.015

Channels = Sequence[NDArray[Any]]

_PIECES_AT_ONCE = 64  # a decoder gives out a few milliseconds at a time; 64 need a megabyte


@dataclass
class SoundWindow:
    """Collects decoded pieces that fall into [first_s, last_s), as their mean over the channels.

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
    _mono: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    _filled: tuple[int, int] = (0, 0)
    _next: int | None = None
    _pieces: list[Channels] = field(default_factory=list)
    _pieces_end: int = 0
    _stretches: list[tuple[int, int]] = field(default_factory=list)

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
            self._mono = np.zeros(round((self.last_s - self.first_s) * rate_hz), np.float32)
            self._filled = (len(self._mono), 0)
        index = self._next
        if time_s is not None:
            said = round((time_s - self.first_s) * rate_hz)
            if index is None or abs(said - index) > JITTER_S * rate_hz:
                index = said
        if rate_hz != self.rate_hz or index is None:
            return
        low = index
        self._next = high = index + len(samples[0])
        if low < 0 or high > len(self._mono):
            low, high = max(low, 0), min(high, len(self._mono))
            samples = [channel[low - index : high - index] for channel in samples]
        if low < high:
            if not self._follows(samples, low):
                self._mix()
            self._pieces.append(samples)
            self._pieces_end = high

    def waveform(self) -> tuple[NDArray[np.float32], float]:
        """Return the sound as (n,) float32 mono, and the time of its first sample.

        Empty when no sample fell into the window.

        Raises:
            ClipError: decode_error when samples are not finite.
        """
        self._mix()
        first, last = self._filled
        result = self._mono[first:last]
        if not np.isfinite(result).all():
            raise ClipError(Reason.DECODE_ERROR, "sound with samples that are not finite numbers")
        return result, self.first_s + first / max(self.rate_hz, 1)

    def seconds_between(self, first_s: float, last_s: float) -> float:
        """Return how much sound was decoded between two times; gaps do not count."""
        self._mix()
        low, high = ((time_s - self.first_s) * self.rate_hz for time_s in (first_s, last_s))
        held = sum(max(0.0, min(end, high) - max(begin, low)) for begin, end in self._stretches)
        return held / max(self.rate_hz, 1)

    def _follows(self, samples: Channels, index: int) -> bool:
        """Tell whether a piece goes on where those that wait end, and is of their kind."""
        if not 0 < len(self._pieces) < _PIECES_AT_ONCE or index != self._pieces_end:
            return False
        last = self._pieces[-1]
        return len(samples) == len(last) and samples[0].dtype == last[0].dtype

    def _mix(self) -> None:
        """Write the pieces that wait; many at once cost little more than one."""
        if self._pieces:
            length = sum(len(piece[0]) for piece in self._pieces)
            low, high = self._pieces_end - length, self._pieces_end
            mean_of(self._pieces, self._mono[low:high])
            self._filled = (min(self._filled[0], low), max(self._filled[1], high))
            self._stretches.append((low, high))
            self._pieces.clear()


def mean_of(pieces: Sequence[Channels], out: NDArray[np.float32]) -> None:
    """Write the mean over the channels of pieces that follow each other; integers become [-1, 1].

    Args:
        pieces: (n,) samples of each channel, of as many channels and one type.
        out: As long as all of them.
    """
    dtype, num_channels = pieces[0][0].dtype, len(pieces[0])
    if dtype.kind != "f":
        channels = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        total = np.sum(channels, axis=0, dtype=np.float64) / num_channels
        full_scale = 1 << (8 * dtype.itemsize - 1)
        out[:] = (total - full_scale if dtype.kind == "u" else total) / full_scale
        return
    end = 0
    for piece in pieces:  # summed where they go, nothing is copied on the way
        begin, end = end, end + len(piece[0])
        part = out[begin:end]
        if num_channels == 1:
            part[:] = piece[0]
            continue
        np.add(piece[0], piece[1], part)
        for channel in piece[2:]:
            np.add(part, channel, part)
    if num_channels > 1:
        np.divide(out, np.float32(num_channels), out)
