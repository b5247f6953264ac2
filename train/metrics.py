"""Scores of localization maps: pure functions over arrays, one row per sample.

The whole family under one name; the parts are `score.binarize`,
`score.detection`, `score.recall` and `truths.boxes`.
cIoU, LocAcc and AUC are counted as in `utils.py` of EZ-VSL and SLAVC, AP and max-F1 as in SLAVC's;
thresholds are exhaustive where SLAVC takes every n-th.
A mean over no samples is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .score.binarize import Bools, Floats, Maps, Threshold, binarize, ciou, confidences, top_quarter
from .score.detection import (
    auroc,
    average_precision,
    detection_counts,
    f1_scores,
    max_f1,
    precision_recall,
    slavc_average_precision,
    slavc_max_f1,
)
from .score.recall import first_hits, retrieval_recall, retrieval_scores
from .truths.boxes import consensus_union, consensus_votes, corners_px, union_masks

__all__ = [
    "AUC_THRESHOLDS",
    "Bools",
    "Floats",
    "Maps",
    "Threshold",
    "auc",
    "auroc",
    "average_precision",
    "binarize",
    "ciou",
    "confidences",
    "consensus_union",
    "consensus_votes",
    "corners_px",
    "detection_counts",
    "f1_scores",
    "first_hits",
    "group_minima",
    "loc_acc",
    "max_f1",
    "mean",
    "mean_in_boxes",
    "precision_recall",
    "retrieval_recall",
    "retrieval_scores",
    "slavc_average_precision",
    "slavc_max_f1",
    "success_rates",
    "top_quarter",
    "union_masks",
]

AUC_THRESHOLDS: Floats = np.arange(21, dtype=np.float64) * np.float64(0.05)
"""0, 0.05, ..., 1 as the float products that the peers compare with (0.15000000000000002, ...)."""


def mean(values: ArrayLike) -> float:
    """Return the mean in float64; NaN, without a warning, of nothing."""
    array = np.asarray(values, np.float64)
    return float(array.mean()) if array.size else float("nan")


def mean_in_boxes(maps: Maps, boxes_px: NDArray[np.int64]) -> Floats:
    """Return each map's mean inside a box of its own.

    Args:
        maps: `(n, H, W)`.
        boxes_px: `(n, 4)` x1, y1, x2, y2, the ends exclusive.

    Returns:
        `(n,)`, NaN for an empty box.
    """
    insides = (
        maps[index, y1:y2, x1:x2] for index, (x1, y1, x2, y2) in enumerate(boxes_px.tolist())
    )
    return np.array([mean(inside) for inside in insides])


def loc_acc(ciou: Floats, at: float = 0.5) -> float:
    """Return LocAcc, the share of samples with cIoU >= `at` (others print it as cIoU)."""
    return mean(ciou >= at)


def success_rates(ciou: Floats) -> Floats:
    """Return LocAcc at each of `AUC_THRESHOLDS`, `(21,)`."""
    return np.array([loc_acc(ciou, threshold) for threshold in AUC_THRESHOLDS.tolist()])


def auc(ciou: Floats) -> float:
    """Return the area under LocAcc over 21 thresholds, by trapezoids (EZ-VSL, SLAVC)."""
    rates = success_rates(ciou)
    return float(np.sum((rates[1:] + rates[:-1]) / 2 * np.diff(AUC_THRESHOLDS)))


def group_minima(values: Floats, groups: Sequence[object]) -> Floats:
    """Return the worst value of each group, in the order of their first members.

    `loc_acc` and `auc` of these are SSLalignment's IIoU and IAUC (IS3: all sounds of one picture).

    Args:
        values: `(n,)` cIoU.
        groups: `(n,)` which group each belongs to.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    minima = np.full(len(numbers), np.inf)
    np.minimum.at(minima, [numbers[group] for group in groups], values)
    return minima
