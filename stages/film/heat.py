"""Laying a map that changes with time over pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Heat:
    """What is laid over the pictures of a clip.

    Attributes:
        times_s: `(n,)` of the maps, ascending.
        maps: `(n, s, s)`, each the whole frame, its cells equal tiles.
        limits: Values at the ends of the colours, the same for the whole clip.
        dimming: `(256,)` float32, what each of 256 values leaves of the picture.
        glow: `(256, 3)` float32 RGB of 255, what each adds to it.
        legend: `(h, w, 4)` uint8 RGBA, drawn into the lower left corner.
        is_last: Whether no later maps follow.
    """

    times_s: NDArray[np.float32]
    maps: NDArray[np.floating[Any]]
    limits: tuple[float, float]
    dimming: NDArray[np.float32]
    glow: NDArray[np.float32]
    legend: NDArray[np.uint8]
    is_last: bool = True


class Painter:
    """Paints pictures of one size."""

    def __init__(self, heat: Heat, height: int, width: int) -> None:
        """Prepare for pictures of `height` x `width`."""
        self._heat = heat
        self._rows = tile_weights(heat.maps.shape[1], height)
        self._columns = tile_weights(heat.maps.shape[2], width).T
        # in 256ths: a sum of two rounded parts stays within a byte
        self._dimming = np.floor(heat.dimming * 256).astype(np.uint16)
        self._glow = np.floor(heat.glow).astype(np.uint8)
        legend = heat.legend[-height:, :width]
        self._legend_hw = legend.shape[:2]
        opacity = legend[..., 3:].astype(np.float32) / 255
        self._legend, self._legend_leaves = legend[..., :3] * opacity, 1 - opacity

    def lacks(self, time_s: float) -> bool:
        """Whether later maps than it has are needed for a moment."""
        return not self._heat.is_last and time_s > self._heat.times_s[-1]

    def take(
        self, times_s: NDArray[np.float32], maps: NDArray[np.floating[Any]], is_last: bool
    ) -> None:
        """Go on with other maps, which begin at or before the next moment; see `Heat`."""
        self._heat = replace(self._heat, times_s=times_s, maps=maps, is_last=is_last)

    def paint(self, picture: Picture, time_s: float) -> Picture:
        """Return a picture `(H, W, 3)` with the map of a moment and the legend."""
        value = self._rows @ self._shares(time_s) @ self._columns
        index = (value + 0.5).astype(np.uint8)
        dimmed = picture * np.take(self._dimming, index)[..., None]
        dimmed >>= 8
        painted: Picture = dimmed.astype(np.uint8)
        painted += np.take(self._glow, index, axis=0)
        height, width = self._legend_hw
        corner = painted[painted.shape[0] - height :, :width]
        corner[:] = corner * self._legend_leaves + self._legend
        return painted

    def _shares(self, time_s: float) -> NDArray[np.float32]:
        """Return the map of a moment, from 0 to 255: linear in time between its neighbours."""
        heat = self._heat
        after = int(np.searchsorted(heat.times_s, time_s))
        before, after = max(after - 1, 0), min(after, len(heat.maps) - 1)
        gap_s = float(heat.times_s[after] - heat.times_s[before])
        weight = np.float32((time_s - float(heat.times_s[before])) / gap_s if gap_s > 0 else 0)
        earlier, later = (heat.maps[i].astype(np.float32) for i in (before, after))
        low, high = heat.limits
        share = ((1 - weight) * earlier + weight * later - low) / max(high - low, 1e-9)
        shares: NDArray[np.float32] = np.clip(share, 0, 1) * np.float32(255)
        return shares


def tile_weights(cells: int, pixels: int) -> NDArray[np.float32]:
    """Return `(pixels, cells)` weights of linear interpolation between centres of equal tiles."""
    places = (np.arange(cells) + 0.5) * pixels / cells - 0.5
    unit = np.eye(cells)
    columns = [np.interp(np.arange(pixels), places, cell) for cell in unit]
    return np.stack(columns, axis=1).astype(np.float32)
