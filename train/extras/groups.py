"""The worst sound of each picture, as IS3 counts (Senocak et al., ICCV 2023, test code)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..score.binarize import Floats, Maps
from ..score.protocols import Protocol
from ..score.scoring import Measured, cious
from . import groups_of

if TYPE_CHECKING:
    from ..truths.annotated import AnnotatedItem


@dataclass(frozen=True)
class Groups:
    """IIoU and IAUC: LocAcc and AUC of the lowest cIoU of each group.

    Attributes:
        sizes: Items of each group in the whole test; a group that lacks one does not count, as the
            worst of fewer would be better.
    """

    sizes: Mapping[str, int]
    joint: bool = False

    def look(
        self, maps: Maps, truths: NDArray[Any], items: Sequence[AnnotatedItem], rules: Protocol
    ) -> Floats:
        """Keep nothing: cIoU is measured anyway; see `Extra.look`."""
        return np.zeros((len(items), 0))

    def scores(
        self, rows: Floats, measured: Measured, items: Sequence[AnnotatedItem], rules: Protocol
    ) -> dict[str, float]:
        """Return `iiou` and `iauc` by rule; see `Extra.scores`."""
        names = groups_of(items)
        there = {name for name, num in Counter(names).items() if num == self.sizes.get(name[0])}
        keep = np.array([name in there for name in names], bool)
        groups = [name for name in names if name in there]
        found = {}
        for suffix, ciou in cious(measured, rules).items():
            worst = metrics.group_minima(ciou[keep], groups)
            found[f"iiou{suffix}"] = metrics.loc_acc(worst)
            found[f"iauc{suffix}"] = metrics.auc(worst)
        return found
