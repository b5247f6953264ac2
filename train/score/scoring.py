"""From maps and truths to figures, by a protocol: one row per pair first, then the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from .binarize import (
    Bools,
    Floats,
    Maps,
    Threshold,
    mean_of_top_quarter,
    order_statistic,
    sorted_sample,
)
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

    def only(self, keep: Bools | NDArray[np.int64]) -> Measured:
        """Return the rows that count, given as flags or as numbers."""
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
    rows = [
        _look(one.ravel(), truth.ravel(), protocol) for one, truth in zip(maps, truths, strict=True)
    ]
    columns = np.array(rows, np.float64).reshape(-1, 5).T
    return Measured._make([*columns, np.asarray(num_boxes, np.int64)])


def _look(values: NDArray[Any], truth: NDArray[Any], protocol: Protocol) -> tuple[float, ...]:
    """Return the confidence, three cIoUs and the area of one map, both `(N,)`."""
    known = None
    if np.isnan(values.max()):
        known = ~np.isnan(values)
        values = np.where(known, values, -np.inf)
    covered = truth if truth.dtype == bool else truth > 0
    num_covered = int(np.count_nonzero(covered))
    area = float(num_covered if covered is truth else truth.sum(dtype=np.float64))
    if known is not None and not known.any():
        return -np.inf, 0.0, 0.0, 0.0, area
    beats = np.greater if protocol.strict else np.greater_equal
    peak = values.max()
    peak_stays = protocol.peak_stays and (peak >= 0 or peak > values.min())

    def overlap(level: Any) -> float:
        chosen = values >= level if peak_stays and level == peak else beats(values, level)
        if known is not None:
            chosen &= known
        num_chosen = np.count_nonzero(chosen)
        chosen &= covered
        num_hit = np.count_nonzero(chosen)
        hit = num_hit if covered is truth else truth[chosen].sum(dtype=np.float64)
        whole = area + num_chosen - num_hit
        return float(hit / whole) if whole else 0.0

    num, sample = len(values), sorted_sample(values)
    rank = min(int(num * (1 - protocol.predicted)), num - 1)
    median = overlap(order_statistic(values, rank, sample))
    adaptive = 0.0
    if num_covered:
        adaptive = overlap(order_statistic(values, num - num_covered, sample))
    fixed = overlap(0.5 if protocol.scale == "unit" else _middle(values, known))
    top_quarter = protocol.confidence == "top-quarter"
    sure = mean_of_top_quarter(values, sample) if top_quarter else float(peak)
    return sure, median, adaptive, fixed, area


def _middle(values: NDArray[Any], known: Bools | None) -> Any:
    """Return what lies halfway between a map's extremes."""
    low = values.min() if known is None else values[known].min(initial=np.inf)
    return low + (values.max() - low) / 2


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
        so AP and F1 where there is no negative, unless thresholds are `subsampled`: SLAVC's code
        prints them of positives alone too.
    """
    rows = measured.only(keep)
    positive = rows.num_boxes > 0
    subsampled = protocol.thresholds == "subsampled"
    extended = positive.any() and (subsampled or not positive.all())
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
        protocol: Which rule has no suffix.
        at: As in `summary`.

    Returns:
        `ciou_thresholds` and `success_rate` (21 points); `thresholds`, `precision`, `recall` and
        `f1` at up to 200 confidences, evenly ranked, falling. Empty without negatives. What
        depends on the rule is there for each, with the suffix of its scores.
    """
    rows = measured.only(keep)
    positive = rows.num_boxes > 0
    thresholds = np.zeros(0)
    if positive.any() and not positive.all():
        levels = np.unique(rows.confidence[np.isfinite(rows.confidence)])[::-1]
        places = np.linspace(0, len(levels) - 1, min(CURVE_POINTS, len(levels)))
        thresholds = levels[places.round().astype(np.int64)]  # none is minus infinity, as of NaN
    found = {"ciou_thresholds": metrics.AUC_THRESHOLDS, "thresholds": thresholds}
    for suffix, ciou in cious(rows, protocol).items():
        both = rows.confidence, ciou, positive, thresholds, at
        precision, recall = metrics.precision_recall(*both)
        found[f"success_rate{suffix}"] = metrics.success_rates(ciou[positive])
        found[f"precision{suffix}"] = precision
        found[f"recall{suffix}"] = recall
        found[f"f1{suffix}"] = metrics.f1_scores(*both)
    return {name: values.tolist() for name, values in found.items()}


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
    return (slice(start, min(start + chunk, num)) for start in range(0, max(num, 1), chunk))
