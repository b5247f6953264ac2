"""Scores of localization maps: pure functions over arrays, one row per sample.

Counting follows the peers (REFERENCE 5); thresholds are exhaustive where the peers take every n-th.
A mean over no samples is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Maps = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AUC_THRESHOLDS: Floats = np.arange(21, dtype=np.float64) * np.float64(0.05)
"""0, 0.05, ..., 1 as the float products that the peers compare with (0.15000000000000002, ...)."""


class Threshold(StrEnum):
    """How a map becomes a prediction.

    MEDIAN: the top half of the pixels. FIXED: pixels at or above a value. ADAPTIVE: as many pixels
    as the ground truth has.
    """

    MEDIAN = "median"
    FIXED = "fixed"
    ADAPTIVE = "adaptive"


def binarize(
    maps: Maps,
    rule: Threshold,
    *,
    areas_px: NDArray[np.integer[Any]] | None = None,
    level: float = 0.5,
) -> Bools:
    """Choose the pixels that a map predicts, those that tie with the last one included.

    Args:
        maps: `(n, H, W)`. NaN ranks below everything and is never predicted.
        rule: See `Threshold`.
        areas_px: `(n,)` pixels of each ground truth, for ADAPTIVE; 0 predicts none.
        level: For FIXED.

    Returns:
        `(n, H, W)`.

    Raises:
        ValueError: If ADAPTIVE is asked for without areas.
    """
    if rule is Threshold.FIXED:
        return np.asarray(maps >= level)
    flat = np.where(np.isnan(maps), -np.inf, maps).reshape(len(maps), -1)
    num_pixels = flat.shape[1]
    if rule is Threshold.MEDIAN:
        wanted = np.full(len(flat), num_pixels - num_pixels // 2)
    elif areas_px is None:
        raise ValueError("the adaptive rule needs the areas of the ground truth")
    else:
        wanted = np.asarray(areas_px)
    chosen = np.zeros(flat.shape, bool)
    for row, values, area in zip(chosen, flat, wanted.tolist(), strict=True):
        if area:
            rank = num_pixels - area
            np.greater_equal(values, np.partition(values, rank)[rank], out=row)
    return chosen.reshape(maps.shape) & ~np.isnan(maps)


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
        boxes_px: `(k, 4)` x1, y1, x2, y2 in pixels of the frame, one or more per annotator.
        frame_px: Side of that frame.
        size_px: Side of the map.
        needed: Boxes that make full consensus.

    Returns:
        `(size_px, size_px)` in [0, 1].
    """
    votes = np.zeros((size_px, size_px))
    boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
    for x1, y1, x2, y2 in (size_px * boxes / frame_px).astype(np.int64).tolist():
        votes[y1:y2, x1:x2] += 1
    return np.minimum(votes / needed, 1)


def ciou(predicted: Bools, truth: Maps) -> Floats:
    """Return each sample's consensus IoU: sum(P G) / (sum(G) + #(P and G = 0)).

    Args:
        predicted: `(n, H, W)`.
        truth: `(n, H, W)` in [0, 1].

    Returns:
        `(n,)` in [0, 1]; 0 where both are empty.
    """
    hit: Floats = np.where(predicted, truth, 0).sum((1, 2), dtype=np.float64)
    whole = truth.sum((1, 2), dtype=np.float64) + (predicted & (truth == 0)).sum((1, 2))
    shares: Floats = np.divide(hit, whole, out=np.zeros_like(hit), where=whole > 0)
    return shares


def confidences(maps: Maps) -> Floats:
    """Return each map's largest value, `(n,)`; NaN counts as minus infinity."""
    peaks: Floats = np.where(np.isnan(maps), -np.inf, maps).max((1, 2)).astype(np.float64)
    return peaks


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


def mean(values: ArrayLike) -> float:
    """Return the mean in float64; NaN, without a warning, of nothing."""
    array = np.asarray(values, np.float64)
    return float(array.mean()) if array.size else float("nan")


def loc_acc(ciou: Floats, at: float = 0.5) -> float:
    """Return LocAcc, the share of samples with cIoU >= `at` (others print it as cIoU)."""
    return mean(ciou >= at)


def auc(ciou: Floats) -> float:
    """Return the area under LocAcc over 21 thresholds, by trapezoids (EZ-VSL, SLAVC)."""
    rates = np.array([loc_acc(ciou, threshold) for threshold in AUC_THRESHOLDS.tolist()])
    return float(np.sum((rates[1:] + rates[:-1]) / 2 * np.diff(AUC_THRESHOLDS)))


def detection_counts(
    confidence: Floats, ciou: Floats, positive: Bools, thresholds: Floats, at: float = 0.5
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count detections at each threshold (SLAVC section 5.3 as coded).

    A negative at or above the threshold is a false positive. So is a positive there that is badly
    localized, which is no false negative; a positive below the threshold is one.

    Args:
        confidence: `(n,)`.
        ciou: `(n,)`; of negatives it is not read.
        positive: `(n,)` whether the sound's source is in the picture.
        thresholds: `(t,)`.
        at: A positive is localized from this cIoU on.

    Returns:
        True positives, false positives and false negatives, `(t,)` each.
    """
    localized = positive & (ciou >= at)

    def at_or_above(chosen: Bools) -> NDArray[np.int64]:
        scores = np.sort(confidence[chosen])
        return np.asarray(len(scores) - np.searchsorted(scores, thresholds), np.int64)

    false_negatives = int(positive.sum()) - at_or_above(positive)
    return at_or_above(localized), at_or_above(~localized), false_negatives


def precision_recall(
    confidence: Floats, ciou: Floats, positive: Bools, thresholds: Floats, at: float = 0.5
) -> tuple[Floats, Floats]:
    """Return precision and recall at each threshold, `(t,)` each; 1 where nothing was counted.

    Arguments as in `detection_counts`.
    """
    tp, fp, fn = detection_counts(confidence, ciou, positive, thresholds, at)
    return _share(tp, tp + fp), _share(tp, tp + fn)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    return np.divide(part, whole, out=np.ones(len(part)), where=whole > 0)


def average_precision(confidence: Floats, ciou: Floats, positive: Bools, at: float = 0.5) -> float:
    """Return the area under the interpolated precision over recall, every threshold counted.

    Mislocalized positives leave recall's denominator, as the peers count, so AP can exceed LocAcc.
    Arguments as in `detection_counts`; NaN without positives.
    """
    if not positive.any():
        return float("nan")
    thresholds = np.unique(confidence)[::-1]
    precision, recall = precision_recall(confidence, ciou, positive, thresholds, at)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(envelope * np.diff(recall, prepend=0.0)))


def max_f1(confidence: Floats, ciou: Floats, positive: Bools, at: float = 0.5) -> float:
    """Return the largest F1 over all thresholds.

    Arguments as in `detection_counts`; NaN without positives.
    """
    if not positive.any():
        return float("nan")
    tp, fp, fn = detection_counts(confidence, ciou, positive, np.unique(confidence), at)
    return float(np.max(2 * tp / (2 * tp + fp + fn)))


def auroc(positive: Floats, negative: Floats) -> float:
    """Return the chance that a positive scores above a negative, ties counting half.

    Args:
        positive: `(p,)` scores.
        negative: `(q,)` scores.

    Returns:
        In [0, 1]; NaN where either is empty.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    ranked = np.sort(negative)
    below = np.searchsorted(ranked, positive, "left")
    at_most = np.searchsorted(ranked, positive, "right")
    return float((below + at_most).sum() / (2 * len(positive) * len(negative)))


def retrieval_recall(
    similarity: Maps, query_labels: Sequence[object], gallery_labels: Sequence[object], k: int = 1
) -> float:
    """Return the share of queries with an item of their own label among the k most similar.

    Args:
        similarity: `(q, g)`; of equal items the first wins.
        query_labels: `(q,)` classes; indices for instance-level retrieval.
        gallery_labels: `(g,)`.
        k: How many items are looked at.
    """
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    found = [
        any(gallery_labels[item] == label for item in items)
        for items, label in zip(best.tolist(), query_labels, strict=True)
    ]
    return mean(found)
