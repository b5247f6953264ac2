"""Pixels above a share of the map's peak, as DSOL's code predicts (Hu et al., NeurIPS 2020)."""

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

if TYPE_CHECKING:
    from ..truths.annotated import AnnotatedItem

SOLO_SHARE = 0.1


def above_share(maps: Maps, share: float) -> Bools:
    """Return the pixels above a share of each map's largest value, `(n, H, W)`; NaN is none."""
    peaks = np.where(np.isnan(maps), -np.inf, maps).max((1, 2), keepdims=True)
    return np.asarray(maps > share * peaks)


def at_levels(
    name: str, ciou: Floats, low: float = float(metrics.AUC_THRESHOLDS[6])
) -> dict[str, float]:
    """Return the share with cIoU of 0.3 and of 0.5, and the area under that share.

    Args:
        name: What the scores' names begin with.
        ciou: `(n,)`.
        low: The 0.3. DSOL's code takes the seventh point of its curve, 6 * 0.05, a last bit above.
    """
    return {
        f"{name}_30": metrics.loc_acc(ciou, low),
        f"{name}_50": metrics.loc_acc(ciou),
        f"{name}_auc": metrics.auc(ciou),
    }


@dataclass(frozen=True)
class Peaks:
    """CIoU at 0.3 and 0.5 and AUC of the pixels above `share` of the peak."""

    share: float = SOLO_SHARE
    joint: bool = False

    def look(
        self, maps: Maps, truths: NDArray[Any], items: Sequence[AnnotatedItem], rules: Protocol
    ) -> Floats:
        """Keep the cIoU; see `Extra.look`."""
        return metrics.ciou(above_share(maps, self.share), truths)[:, None]

    def scores(
        self, rows: Floats, measured: Measured, items: Sequence[AnnotatedItem], rules: Protocol
    ) -> dict[str, float]:
        """Return `peak_30`, `peak_50`, `peak_auc` of the positives; see `Extra.scores`."""
        return at_levels("peak", rows[measured.num_boxes > 0, 0])
