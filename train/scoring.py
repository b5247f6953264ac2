"""From maps and truths to figures, by a protocol: one row per pair first, then the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .binarize import Bools, Floats, Maps, Threshold, binarize
from .protocols import Protocol

SIZES = {
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 144**2),
    "huge": (144**2, 10**8),
}
"""Areas of ground truth in pixels of the 224 x 224 map, the end exclusive (SLAVC, Table 1)."""
CURVE_POINTS = 200


class Measured(NamedTuple):
    """What is kept of maps once they were looked at, `(n,)` each, one row per pair.

    Attributes:
        confidence: How sure the map is that there is a source.
        ciou: Of the upper half of the pixels.
        ciou_adaptive: Of as many pixels as the truth has.
        ciou_fixed: Of the pixels above half: of 0.5 in the `unit` scale, else of the map's range.
        area_px: Sum of the truth.
        num_boxes: Boxes of the truth; 0 is a negative.
    """

    confidence: Floats
    ciou: Floats
    ciou_adaptive: Floats
    ciou_fixed: Floats
    area_px: Floats
    num_boxes: NDArray[np.int64]

    def only(self, keep: Bools) -> Measured:
        """Return the rows that count."""
        return Measured._make(column[keep] for column in self)


def measure(
    maps: Maps, truths: NDArray[Any], num_boxes: NDArray[np.int64], protocol: Protocol
) -> Measured:
    """Look at maps.

    Args:
        maps: `(n, H, W)` of `localization_maps` or a blend; NaN is never predicted.
        truths: `(n, H, W)` in [0, 1], or bool; anything where there is no box.
        num_boxes: `(n,)`.
        protocol: Its confidence and its thresholds.
    """
    areas = np.count_nonzero(truths, axis=(1, 2))
    half = 0.5 if protocol.scale == "unit" else _middle(maps)

    def overlap(rule: Threshold) -> Floats:
        chosen = binarize(maps, rule, areas_px=areas, level=half, strict=protocol.strict)
        return metrics.ciou(chosen, truths)

    sure = metrics.top_quarter if protocol.confidence == "top-quarter" else metrics.confidences
    return Measured(
        sure(maps),
        overlap(Threshold.MEDIAN),
        overlap(Threshold.ADAPTIVE),
        overlap(Threshold.FIXED),
        truths.sum((1, 2), dtype=np.float64),
        np.asarray(num_boxes, np.int64),
    )


def _middle(maps: Maps) -> Floats:
    low, high = np.fmin.reduce(maps, (1, 2)), np.fmax.reduce(maps, (1, 2))
    middle: Floats = (low + (high - low) / 2).astype(np.float64)
    return middle


def summary(
    measured: Measured, keep: Bools, protocol: Protocol, at: Sequence[float] = (0.5, 0.75)
) -> dict[str, float]:
    """Reduce rows to scores.

    Args:
        measured: Of `measure`.
        keep: `(n,)` the rows that count.
        protocol: Its thresholds, and which rule has no suffix.
        at: cIoU from which on a source is localized; of those but the first, in the name.

    Returns:
        `loc_acc`, `ciou_mean`, `auc` of the positives and `ap`, `max_f1` with the negatives, each
        also `_adaptive` and `_fixed`, and with `_75` behind; NaN where there is nothing to score,
        so AP and F1 where there is no negative.
    """
    rows = measured.only(keep)
    positive = rows.num_boxes > 0
    extended = positive.any() and not positive.all()
    subsampled = protocol.thresholds == "subsampled"
    ap = metrics.slavc_average_precision if subsampled else metrics.average_precision
    best = metrics.slavc_max_f1 if subsampled else metrics.max_f1
    scores: dict[str, float] = {}
    for suffix, ciou in cious(rows, protocol).items():
        scores[f"ciou_mean{suffix}"] = metrics.mean(ciou[positive])
        scores[f"auc{suffix}"] = metrics.auc(ciou[positive])
        for level in at:
            name = suffix if level == at[0] else f"{suffix}_{round(level * 100)}"
            both = rows.confidence, ciou, positive, level
            scores[f"loc_acc{name}"] = metrics.loc_acc(ciou[positive], level)
            scores[f"ap{name}"] = ap(*both) if extended else float("nan")
            scores[f"max_f1{name}"] = best(*both) if extended else float("nan")
    return scores


def cious(measured: Measured, protocol: Protocol) -> dict[str, Floats]:
    """Return the cIoU of each rule by the suffix of its scores; the protocol's rule has none."""
    by_rule = {
        Threshold.MEDIAN: measured.ciou,
        Threshold.ADAPTIVE: measured.ciou_adaptive,
        Threshold.FIXED: measured.ciou_fixed,
    }
    return {"" if rule is protocol.headline else f"_{rule}": ciou for rule, ciou in by_rule.items()}


def curves(
    measured: Measured, keep: Bools, protocol: Protocol, at: float = 0.5
) -> dict[str, list[float]]:
    """Return the curves behind the scores.

    Args:
        measured: Of `measure`.
        keep: `(n,)` the rows that count.
        protocol: Which rule's cIoU is looked at.
        at: As in `summary`.

    Returns:
        `ciou_thresholds` and `success_rate` (21 points); `thresholds`, `precision`, `recall` and
        `f1` at up to 200 confidences, evenly ranked, falling. Empty without negatives.
    """
    rows = measured.only(keep)
    positive = rows.num_boxes > 0
    ciou = cious(rows, protocol)[""]
    thresholds = np.zeros(0)
    if positive.any() and not positive.all():
        levels = np.unique(rows.confidence)[::-1]
        places = np.linspace(0, len(levels) - 1, min(CURVE_POINTS, len(levels)))
        thresholds = levels[places.round().astype(np.int64)]
    both = rows.confidence, ciou, positive, thresholds, at
    precision, recall = metrics.precision_recall(*both)
    return {
        "ciou_thresholds": metrics.AUC_THRESHOLDS.tolist(),
        "success_rate": metrics.success_rates(ciou[positive]).tolist(),
        "thresholds": thresholds.tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": metrics.f1_scores(*both).tolist(),
    }


def size_of(area_px: Floats) -> list[str]:
    """Return the name in `SIZES` of each area."""
    names = list(SIZES)
    starts = [start for start, _ in SIZES.values()]
    return [names[i] for i in np.searchsorted(starts, area_px, "right") - 1]


def measure_all(
    num: int,
    look: Callable[[slice], Measured],
    *,
    chunk: int = 32,
    threads: int = 2,
) -> Measured:
    """Look at many maps in chunks, so that memory stays flat, on several threads.

    Args:
        num: Pairs.
        look: Makes the maps of a slice of the pairs and measures them.
        chunk: Pairs at a time.
        threads: NumPy works outside Python's lock.
    """
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(look, _slices(num, chunk)))
    return Measured._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _slices(num: int, chunk: int) -> Iterator[slice]:
    return (slice(start, min(start + chunk, num)) for start in range(0, num, chunk))
