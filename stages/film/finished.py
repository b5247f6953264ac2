"""The sound of a film that avpipe made, as a spectrogram of a few hundred columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from ...cache.defaults import SPECTROGRAM
from ..front_ends import FLOOR, FRONT_ENDS, SEGMENT
from ..spectrogram import log_spectrogram

MAX_COLUMNS = 1200
"""More than a printed line has dots; of longer films columns are averaged."""


@dataclass(frozen=True)
class FilmSound:
    """What a film sounds like.

    Attributes:
        log_power: (257, n) natural logarithm of the power density, n <= `MAX_COLUMNS`.
        rate_hz: Twice the highest frequency.
        duration_s: Of the film's pictures; the columns divide it evenly.
    """

    log_power: NDArray[np.float32]
    rate_hz: int
    duration_s: float


def film_sound(film: Path) -> FilmSound:
    """Read the sound of a film that `RenderChild.draw` wrote; its first samples are its start.

    Args:
        film: An MP4 of this program's own making: it is read in this process.
    """
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        duration_s = float((stream.duration or 0) * (stream.time_base or 0))
        columns = _columns(container, duration_s)
    return FilmSound(columns, FRONT_ENDS[SPECTROGRAM].rate_hz, duration_s)


def _columns(container: av.container.InputContainer, duration_s: float) -> NDArray[np.float32]:
    """Return (257, n): power is averaged over each column's time; what has no sound is silence."""
    front_end = FRONT_ENDS[SPECTROGRAM]
    hop, total = front_end.hop, max(1, round(duration_s * front_end.rate_hz / front_end.hop))
    joined = -(-total // MAX_COLUMNS)
    found: list[NDArray[np.float32]] = []
    rest = np.zeros(SEGMENT // 2, np.float32)  # the first column is that of the film's start
    for piece in _mono(container, front_end.rate_hz):
        rest = np.concatenate([rest, piece])
        blocks = max(0, len(rest) - SEGMENT + hop) // (hop * joined)
        if blocks:
            count = blocks * joined
            log_power = log_spectrogram(rest[: (count - 1) * hop + SEGMENT], SPECTROGRAM)
            power = np.exp(log_power).reshape(len(log_power), blocks, joined).mean(axis=2)
            found.append(np.log(power))
            rest = rest[count * hop :]
    columns = np.concatenate([np.zeros((front_end.num_bins, 0), np.float32), *found], axis=1)
    wanted = -(-total // joined)
    lacking = max(0, wanted - columns.shape[1])
    return np.pad(columns, ((0, 0), (0, lacking)), constant_values=np.log(FLOOR))[:, :wanted]


def _mono(container: av.container.InputContainer, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Yield the sound at a rate, piece by piece."""
    resampler = AudioResampler(format="flt", layout="mono", rate=rate_hz)
    for frame in container.decode(audio=0):
        for piece in resampler.resample(frame):
            yield piece.to_ndarray()[0]
    for piece in resampler.resample(None):
        yield piece.to_ndarray()[0]
