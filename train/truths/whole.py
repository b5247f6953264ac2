"""Boxes as they come from others: those that hold no number, leave the frame or have no area."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..benchmarks import SIZE_PX
from ..score.binarize import Floats

_FIRST = 3
"""Ids that a line about many of them names."""
_ROUNDED = 1e-6
"""So far over the edge, in shares of the side, is written for the edge."""


def clips_text(ids: Sequence[str]) -> str:
    """Return how many clips, and the first of them."""
    named = ", ".join(ids[:_FIRST]) + (", ..." if len(ids) > _FIRST else "")
    return f"{len(ids):,} clip{'s' if len(ids) > 1 else ''} ({named})"


def corners_of_map(boxes: Floats, side: float) -> NDArray[np.int64]:
    """Bring boxes to pixels of the map: clipped to the frame, then truncated.

    Args:
        boxes: `(k, 4)` x1, y1, x2, y2, finite.
        side: The frame's side in their unit: 1 where they are shares of the sides.
    """
    inside = np.clip(boxes, 0, side)
    return np.asarray(inside * (SIZE_PX / side), np.float64).astype(np.int64)


def whole_boxes(
    file: str, boxes: Mapping[str, Floats], side: float = 1
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """Leave out boxes that hold no number; of the rest say what is odd, a line for each kind.

    Args:
        file: What the lines begin with.
        boxes: `(k, 4)` x1, y1, x2, y2 of each clip.
        side: The frame's side in their unit.

    Returns:
        The boxes, and the lines.
    """
    whole = {name: own[np.isfinite(own).all(1)] for name, own in boxes.items()}
    rounded = _ROUNDED * side

    def names(odd: Callable[[str, Floats], bool]) -> list[str]:
        return [name for name, own in whole.items() if odd(name, own)]

    found = {
        "with boxes out of the frame, clipped to it": names(
            lambda _, own: bool(((own < -rounded) | (own > side + rounded)).any())
        ),
        "with boxes that hold no number, left out": names(
            lambda name, own: len(own) < len(boxes[name])
        ),
        "whose boxes have no area: cIoU is 0 there": names(lambda _, own: not has_area(own, side)),
    }
    lines = (f"{file}: {clips_text(clips)} {told}" for told, clips in found.items() if clips)
    return whole, tuple(lines)


def has_area(boxes: Floats, side: float = 1) -> bool:
    """Whether one of the boxes covers a pixel of the map; see `corners_of_map`."""
    corners = corners_of_map(boxes, side)
    return bool(((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])).any())
