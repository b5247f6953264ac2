"""Ground truth as polygons: outlines in pixels of the frame, one list of corners each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..benchmarks import SIZE_PX
from ..score.binarize import Bools


def fill(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Count at each pixel how many polygons cover it.

    Args:
        polygons: Corners x, y, x, y, ... in pixels; corners may lie outside the frame.
        size_hw: The frame's height and width.

    Returns:
        `size_hw`, whole numbers.
    """
    counted = np.zeros(size_hw)
    for corners in polygons:
        picture = Image.new("1", size_hw[::-1])
        whole = [round(value) for value in corners]
        ImageDraw.Draw(picture).polygon(whole, fill=1, outline=1)
        counted += np.asarray(picture)
    return counted


def leaves(corners: Sequence[float], size_hw: tuple[int, int]) -> bool:
    """Whether a polygon reaches out of its frame by more than half a pixel."""
    height, width = size_hw
    return bool(
        min(corners) < -0.5 or max(corners[::2]) > width + 0.5 or max(corners[1::2]) > height + 0.5
    )


def shrink(counted: NDArray[np.float64], size_px: int = SIZE_PX) -> Bools:
    """Bring counts to the size of maps, linear between pixels, and keep what reaches 1.

    Args:
        counted: `(H, W)`.
        size_px: Side of the result.

    Returns:
        `(size_px, size_px)`: where pixels in the middle of equal tiles (`align_corners=False`)
        have a value of 1 or more.
    """
    rows, columns = (_tiles(side, size_px) for side in counted.shape)
    found: NDArray[np.float64] = rows @ counted @ columns.T
    return found >= 1 - 1e-9  # sums of weights that should be 1


def _tiles(side: int, size_px: int) -> NDArray[np.float64]:
    """Return the weights of `side` pixels in each of `size_px` linear samples."""
    places = np.clip((np.arange(size_px) + 0.5) * side / size_px - 0.5, 0, side - 1)
    low = np.minimum(places.astype(np.int64), max(side - 2, 0))
    weights = np.zeros((size_px, side))
    weights[np.arange(size_px), low] += 1 - (places - low)
    weights[np.arange(size_px), np.minimum(low + 1, side - 1)] += places - low
    return weights
