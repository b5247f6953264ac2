"""The strip of a film: which of its pictures are kept while it is heard, and the drawing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...drafts import write_whole
from ...stages.film.finished import film_sound
from ...stages.film.heat import Heat, tile_weights
from ...train.show.drawing import Panel
from ...train.show.strip import film_strip, num_panels

_KEPT = 32
"""So many moments are held at least, twice as many at most: 23 MB of wide frames."""


@dataclass
class KeptMoments:
    """Moments from all over a film whose length nobody knows yet.

    Attributes:
        times_s: When they are.
        frames: (H, W, 3) uint8 RGB of each.
        numbers: Which maps are theirs.
    """

    times_s: list[float] = field(default_factory=list)
    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    _step: int = 1

    def add(self, number: int, time_s: float, frame: NDArray[np.uint8]) -> None:
        """Keep a moment if its number is one of those kept; when there are many, every second."""
        if number % self._step:
            return
        self.times_s.append(time_s)
        self.frames.append(frame)
        self.numbers.append(number)
        if len(self.numbers) >= 2 * _KEPT:
            for each in (self.times_s, self.frames, self.numbers):
                del each[1::2]
            self._step *= 2


def write_strip(film: Path, heat: Heat, kept: KeptMoments, path: Path) -> None:
    """Draw a film's strip.

    Args:
        film: The finished film.
        heat: What was laid over its pictures.
        kept: Moments of it, at least one.
        path: The PNG to write.

    Raises:
        CacheUnwritableError: It cannot be written.
    """
    sound = film_sound(film)
    begin_s = kept.times_s[0]
    times_s = np.array(kept.times_s) - begin_s
    height, width = kept.frames[0].shape[:2]
    count = min(num_panels(height, width), len(times_s))
    wanted_s = (np.arange(count) + 0.5) * sound.duration_s / count
    chosen = [int(np.abs(times_s - moment_s).argmin()) for moment_s in wanted_s]
    panels = [
        Panel(
            f"{times_s[at]:.1f} s", kept.frames[at],
            _enlarged(heat.maps[kept.numbers[at]], height, width), limits=heat.limits,
        )
        for at in chosen
    ]  # fmt: skip
    picture = film_strip(panels, sound.log_power, sound.rate_hz / 2000, sound.duration_s)
    write_whole(path, picture)


def _enlarged(cells: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.float32]:
    """Enlarge a map as the film does: its cells are equal tiles."""
    rows, columns = tile_weights(cells.shape[0], height), tile_weights(cells.shape[1], width)
    enlarged: NDArray[np.float32] = rows @ cells.astype(np.float32) @ columns.T
    return enlarged
