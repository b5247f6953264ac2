"""With negatives in the test: is there a source at all, and is it where the map says?

Counting follows SLAVC (section 5.3 as coded); thresholds are exhaustive, SLAVC's own are below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .binarize import Bools, Floats


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


def f1_scores(
    confidence: Floats, ciou: Floats, positive: Bools, thresholds: Floats, at: float = 0.5
) -> Floats:
    """Return F1 at each threshold, `(t,)`; 0 where nothing was counted.

    Arguments as in `detection_counts`.
    """
    tp, fp, fn = detection_counts(confidence, ciou, positive, thresholds, at)
    scores: Floats = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    return scores


def max_f1(confidence: Floats, ciou: Floats, positive: Bools, at: float = 0.5) -> float:
    """Return the largest F1 over all thresholds.

    Arguments as in `detection_counts`; NaN without positives.
    """
    if not positive.any():
        return float("nan")
    return float(np.max(f1_scores(confidence, ciou, positive, np.unique(confidence), at)))


def slavc_average_precision(
    confidence: Floats, ciou: Floats, positive: Bools, at: float = 0.5
) -> float:
    """Return AP as SLAVC's code takes it: about 200 of the thresholds, slabs from the left.

    The largest confidence is no threshold, and the area left of the first recall is not counted.
    Arguments as in `detection_counts`; NaN without positives.
    """
    if not positive.any():
        return float("nan")
    thresholds = np.sort(confidence)[:-1][::-1][:: max(1, len(confidence) // 200)]
    precision, recall = precision_recall(confidence, ciou, positive, thresholds, at)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(envelope[:-1] * np.diff(recall)))


def slavc_max_f1(confidence: Floats, ciou: Floats, positive: Bools, at: float = 0.5) -> float:
    """Return the largest F1 over every tenth of the ranked confidences, as SLAVC's code prints.

    Arguments as in `detection_counts`; NaN without positives.
    """
    if not positive.any():
        return float("nan")
    thresholds = np.sort(confidence)[:: max(1, len(confidence) // 10)]
    return float(np.max(f1_scores(confidence, ciou, positive, thresholds, at)))


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
