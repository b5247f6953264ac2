"""CAP, PIAP and cIoU of one or two sources, as AVGN reports them (Mo and Tian, CVPR 2023).

Its code counts the sources of a duet together: pixels hit and missed add up over both. CAP is there
the AP of confidences with a source found from a cIoU of 0.3 on; PIAP the average precision of
pixels, where its call of scikit-learn has the binary prediction as truth and the truth as score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..score.binarize import Bools, Floats, Maps
from ..score.protocols import Protocol
from ..score.scoring import Measured
from . import groups_of, number_groups
from .peaks import at_levels
from .segmentation import predicted_pixels

if TYPE_CHECKING:
    from ..truths.annotated import AnnotatedItem

CAP_AT = 0.3


def pixel_ap(scores: NDArray[Any], truth: Bools) -> float:
    """Return the average precision of scores: sum (R_i - R_(i-1)) P_i over distinct levels.

    Args:
        scores: `(N,)`; NaN ranks below everything.
        truth: `(N,)`.

    Returns:
        As scikit-learn's `average_precision_score`; 0 where nothing is true.
    """
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(ranked, kind="stable")[::-1]
    ordered, hits = ranked[order], np.cumsum(truth[order])
    if not len(hits) or not hits[-1]:
        return 0.0
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    recall = hits[last] / hits[-1]
    precision = hits[last] / (last + 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


@dataclass(frozen=True)
class PixelScores:
    """CAP, PIAP, CIoU at 0.3 and 0.5 and AUC over groups of sources."""

    joint: bool = True

    def look(
        self, maps: Maps, truths: NDArray[Any], items: Sequence[AnnotatedItem], rules: Protocol
    ) -> Floats:
        """Keep pixels hit and in either, by the headline's rule, and PIAP; see `Extra.look`."""
        rows = []
        for one, mask in zip(maps, np.asarray(truths, bool), strict=True):
            values, true = one.ravel(), mask.ravel()
            chosen = predicted_pixels(values, int(true.sum()), rules)[""]
            both = (chosen, true) if rules.piap == "swapped" else (true, values)
            ap = pixel_ap(both[1].astype(np.float64), np.asarray(both[0], bool))
            rows.append([(chosen & true).sum(), (chosen | true).sum(), ap])
        return np.array(rows, np.float64).reshape(-1, 3)

    def scores(
        self, rows: Floats, measured: Measured, items: Sequence[AnnotatedItem], rules: Protocol
    ) -> dict[str, float]:
        """Return `cap`, `piap`, `joint_30`, `joint_50`, `joint_auc`; see `Extra.scores`."""
        numbers, num = number_groups(groups_of(items))

        def total(values: Floats) -> Floats:
            return np.asarray(np.bincount(numbers, values, num), np.float64)

        either = total(rows[:, 1])
        ciou = np.divide(total(rows[:, 0]), either, out=np.zeros(num), where=either > 0)
        sizes = total(np.ones(len(rows)))
        sure = total(measured.confidence) / sizes
        subsampled = rules.thresholds == "subsampled"
        ap = metrics.slavc_average_precision if subsampled else metrics.average_precision
        return {
            "cap": ap(sure, ciou, np.ones(num, bool), CAP_AT),
            "piap": float((total(rows[:, 2]) / sizes).mean()),
            **at_levels("joint", ciou, CAP_AT),
        }
