"""Maps of classes in pictures of several sources, as DSOL scores duets (Hu et al., NeurIPS 2020).

DSOL's network has a map for each of its clusters, and the clusters are matched to classes on the
test. Here the map of a class is that of the picture with a sound of that class alone, which needs
no match. From there on it is DSOL's: maps compete by a softmax, the pixels above a share of the
peak are predicted, a picture's cIoU is the mean over the classes that sound in it, and of silent
classes it counts how much of their maps stays low (NSA).
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
from .peaks import above_share, at_levels

if TYPE_CHECKING:
    from ..truths.annotated import AnnotatedItem

SHARPNESS = 3.0
DUET_SHARE = 0.2
SILENT_BELOW = 0.2


def compete(maps: Maps) -> Floats:
    """Return the softmax over classes of 3 times their maps, `(classes, H, W)`; NaN becomes 0."""
    scaled = SHARPNESS * np.where(np.isnan(maps), -np.inf, maps).astype(np.float64)
    top = scaled.max(0, keepdims=True)
    powers = np.exp(scaled - np.where(np.isfinite(top), top, 0))
    total = powers.sum(0, keepdims=True)
    shares: Floats = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
    return shares


@dataclass(frozen=True)
class ClassMaps:
    """CIoU at 0.3 and 0.5 and AUC of pictures, and NSA of the classes that are silent there.

    A group's items are one picture with each class in turn; kind `positive` where it sounds.
    """

    joint: bool = True

    def look(
        self, maps: Maps, truths: NDArray[Any], items: Sequence[AnnotatedItem], rules: Protocol
    ) -> Floats:
        """Keep each class's cIoU, and the share of its map that is low; see `Extra.look`."""
        numbers, num = number_groups(groups_of(items))
        shares = np.empty(maps.shape)
        for number in range(num):
            shares[numbers == number] = compete(maps[numbers == number])
        ciou = metrics.ciou(above_share(shares, DUET_SHARE), truths)
        return np.stack([ciou, (shares <= SILENT_BELOW).mean((1, 2))], 1)

    def scores(
        self, rows: Floats, measured: Measured, items: Sequence[AnnotatedItem], rules: Protocol
    ) -> dict[str, float]:
        """Return `duet_30`, `duet_50`, `duet_auc` and `nsa`; see `Extra.scores`."""
        sounds = np.array([item.kind == "positive" for item in items], bool)
        names = groups_of(items)

        def means(keep: Bools, values: Floats) -> Floats:
            """Return the mean of each picture over some of its classes."""
            numbers, num = number_groups([name for name, k in zip(names, keep, strict=True) if k])
            total = np.bincount(numbers, values[keep], num)
            return np.asarray(total / np.bincount(numbers, minlength=num), np.float64)

        return {
            **at_levels("duet", means(sounds, rows[:, 0])),
            "nsa": metrics.mean(means(~sounds, rows[:, 1])),
        }
