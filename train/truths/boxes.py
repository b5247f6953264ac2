"""Ground truth as maps: what the boxes of a benchmark say about every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..score.binarize import Bools, Floats


def corners_px(boxes_norm: ArrayLike, size_px: int = 224) -> NDArray[np.int64]:
    """Bring boxes to map pixels: clipped to the frame, then truncated (VGG-SS, EZ-VSL and SLAVC).

    Args:
        boxes_norm: `(k, 4)` x1, y1, x2, y2 as shares of the sides; overflowed values are clipped.
        size_px: Side of the map.

    Returns:
        `(k, 4)` x1, y1, x2, y2, the ends exclusive.
    """
    shares = np.asarray(boxes_norm, np.float64).reshape(-1, 4)
    return (np.clip(shares, 0, 1) * size_px).astype(np.int64)


def consensus_union(boxes_norm: ArrayLike, size_px: int = 224) -> Floats:
    """Draw the ground truth of VGG-SS: 1 inside any box, else 0.

    Args:
        boxes_norm: `(k, 4)` x1, y1, x2, y2 as shares of the sides; none is an empty truth.
        size_px: Side of the map.

    Returns:
        `(size_px, size_px)`.
    """
    truth = np.zeros((size_px, size_px))
    for x1, y1, x2, y2 in corners_px(boxes_norm, size_px).tolist():
        truth[y1:y2, x1:x2] = 1
    return truth


def consensus_votes(
    boxes_px: ArrayLike, frame_px: int = 256, size_px: int = 224, needed: int = 2
) -> Floats:
    """Draw the ground truth of Flickr-SoundNet: the share of the boxes needed that cover a pixel.

    Args:
        boxes_px: `(k, 4)` x1, y1, x2, y2 in pixels of the frame, one or more per annotator; what
            reaches over the frame is cut off.
        frame_px: Side of that frame.
        size_px: Side of the map.
        needed: Boxes that make full consensus.

    Returns:
        `(size_px, size_px)` in [0, 1].
    """
    votes = np.zeros((size_px, size_px))
    boxes = np.clip(np.asarray(boxes_px, np.float64).reshape(-1, 4), 0, frame_px)
    for x1, y1, x2, y2 in (size_px * boxes / frame_px).astype(np.int64).tolist():
        votes[y1:y2, x1:x2] += 1
    return np.minimum(votes / needed, 1)


def union_masks(boxes_norm: Sequence[ArrayLike], size_px: int = 224) -> Bools:
    """Draw the `consensus_union` of many clips.

    Args:
        boxes_norm: `(k, 4)` of each clip, as for `consensus_union`.
        size_px: Side of the maps.

    Returns:
        `(n, size_px, size_px)`.
    """
    masks = np.zeros((len(boxes_norm), size_px, size_px), bool)
    for mask, boxes in zip(masks, boxes_norm, strict=True):
        for x1, y1, x2, y2 in corners_px(boxes, size_px).tolist():
            mask[y1:y2, x1:x2] = True
    return masks
