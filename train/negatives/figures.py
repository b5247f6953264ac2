"""What negatives are scored by: pure functions over arrays (Juanola et al., ICASSP 2025).

A mean over nothing is NaN.
"""

from __future__ import annotations

import numpy as np

from .. import metrics
from ..metrics import Bools, Floats


def lit_share(predicted: Bools) -> Floats:
    """Return pIA, the share of each picture that is predicted, `(n, H, W)` to `(n,)`."""
    return np.asarray(predicted.mean((1, 2), dtype=np.float64))


def dark_area(shares: Floats) -> float:
    """Return AUC_N: the area, by trapezoids, under the share of negatives with pIA at most t.

    The thresholds t are those of AUC: 0, 0.05, ..., 1.

    Args:
        shares: `(n,)` pIA.
    """
    rates = np.array([metrics.mean(shares <= t) for t in metrics.AUC_THRESHOLDS.tolist()])
    return float(np.sum((rates[1:] + rates[:-1]) / 2 * np.diff(metrics.AUC_THRESHOLDS)))


def true_negatives(shares: Floats, at_most: float = 0.0) -> float:
    """Return the share of negatives of which at most so much of the picture is predicted."""
    return metrics.mean(shares <= at_most)


def balance(positive: float, negative: float) -> float:
    """Return F, the harmonic mean of a score of positives and one of negatives; 0 of two zeros."""
    total = positive + negative
    return 0.0 if total == 0 else 2 * positive * negative / total


def overlap(first: Bools, second: Bools) -> Floats:
    """Return the IoU of two predictions of each picture, `(n,)`: 1 where both predict nothing.

    Args:
        first: `(n, H, W)`.
        second: `(n, H, W)`.
    """
    both = (first & second).sum((1, 2))
    either = (first | second).sum((1, 2))
    shares: Floats = np.divide(both, either, out=np.ones(len(first)), where=either > 0)
    return shares
