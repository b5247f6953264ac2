"""Does a map lie on the object that sounds? What a world's test says about one source of maps."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..benchmarks import SIZE_PX, Pair, Sample, Scores, Subsets
from ..metrics import Bools, Floats, Maps
from ..score.protocols import Protocol
from ..score.scoring import Measured, curves, summary

Group = Literal["positive", "offscreen", "mismatched", "swapped"]
GROUPS: tuple[Group, ...] = ("positive", "offscreen", "mismatched", "swapped")
SUBSETS = ("heard", "unheard")


@dataclass(frozen=True)
class SynthItem:
    """One pair to score.

    Attributes:
        group: What it tests.
        pair: Its frame and its sound.
        label: Class of the sound.
        unheard: Whether the frame's clip belongs to the held-out classes.
        target: Which of the frame's objects makes that sound; None: none does.
    """

    group: Group
    pair: Pair
    label: str
    unheard: bool
    target: int | None

    @property
    def subset(self) -> str:
        """Which of `SUBSETS` it belongs to."""
        return SUBSETS[int(self.unheard)]


def right_object(boxes: Floats, target: int | None, one_map: Maps) -> float:
    """Return the share of the other objects that the target beats; a tie is half a win.

    Args:
        boxes: `(k, 4)` of all objects, shares of the sides.
        target: Which of them sounds; None: none does, which gives NaN.
        one_map: `(H, W)`; the mean in each box is compared.
    """
    if target is None:
        return float("nan")
    boxes_px = metrics.corners_px(boxes, SIZE_PX)
    levels = metrics.mean_in_boxes(
        np.broadcast_to(one_map, (len(boxes_px), *one_map.shape)), boxes_px
    )
    others = np.delete(levels, target)
    return metrics.mean((levels[target] > others) + (levels[target] == others) / 2)


@dataclass(frozen=True)
class SynthScores:
    """What a world's test says about one source of maps; see `Scored`.

    Attributes:
        items: Of the test.
        measured: Of every item.
        right: `(items,)` share of the other objects that the target beats.
        protocol: How it was measured.
    """

    items: tuple[SynthItem, ...]
    measured: Measured
    right: Floats
    protocol: Protocol

    @property
    def confidence(self) -> Floats:
        """`(items,)` how sure each map is that there is a source."""
        return self.measured.confidence

    @cached_property
    def scores(self) -> Subsets:
        """Scores of the heard and of the held-out classes."""
        return {subset: self._summary(self._of(subset)) for subset in SUBSETS}

    def headline(self, without: AbstractSet[str] = frozenset()) -> tuple[int, Scores]:
        """Return how many clips of heard classes count without those, and their scores."""
        keep = np.array([without.isdisjoint(item.pair) for item in self.items], bool)
        keep &= self._of(SUBSETS[0])
        return int((keep & self._groups["positive"]).sum()), self._summary(keep)

    @property
    def clips(self) -> list[str]:
        """The clip of each item, whose frame it is."""
        return [item.pair.video for item in self.items]

    def drawn(self, rows: NDArray[np.int64]) -> Scores:
        """Return the scores of heard classes of some items, each as often as it is named."""
        items = tuple(self.items[row] for row in rows.tolist())
        drawn = SynthScores(items, self.measured.only(rows), self.right[rows], self.protocol)
        return drawn.headline()[1]

    def _of(self, subset: str) -> Bools:
        return np.array([item.subset == subset for item in self.items], bool)

    @cached_property
    def _groups(self) -> dict[Group, Bools]:
        groups = np.array([item.group for item in self.items])
        return {group: groups == group for group in GROUPS}

    def _summary(self, keep: Bools) -> Scores:
        """Reduce the rows of one subset to its scores."""
        rows = {group: keep & chosen for group, chosen in self._groups.items()}
        peaks = {group: self.confidence[chosen] for group, chosen in rows.items()}
        own = summary(self.measured, keep & ~rows["swapped"], self.protocol)
        moved = summary(self.measured, rows["swapped"], self.protocol)
        return {
            "right_object": metrics.mean(self.right[rows["positive"]]),
            "swapped_right_object": metrics.mean(self.right[rows["swapped"]]),
            "auroc_offscreen": metrics.auroc(peaks["positive"], peaks["offscreen"]),
            "auroc_mismatched": metrics.auroc(peaks["positive"], peaks["mismatched"]),
            **own,
            **{f"swapped_{n}": v for n, v in moved.items() if n in ("loc_acc", "loc_acc_adaptive")},
        }

    @property
    def samples(self) -> list[Sample]:
        """One record per item, in their order."""
        rows, nan = self.measured, float("nan")
        return [
            {
                "group": item.group,
                "subset": item.subset,
                "video": item.pair.video,
                "audio": item.pair.audio,
                "label": item.label,
                "confidence": float(rows.confidence[i]),
                "ciou": nan if item.target is None else float(rows.ciou[i]),
                "ciou_adaptive": nan if item.target is None else float(rows.ciou_adaptive[i]),
                "right_object": float(self.right[i]),
            }
            for i, item in enumerate(self.items)
        ]

    @property
    def curves(self) -> dict[str, list[float]]:
        """Curves of the heard classes and all negatives."""
        keep = self._of(SUBSETS[0]) & ~self._groups["swapped"]
        return curves(self.measured, keep, self.protocol)
