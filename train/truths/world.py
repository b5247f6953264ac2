"""The test of a synthetic world: which object of the picture sounds is known, and so is what else.

Each frame is heard with its own sound, with that of another of its objects (`swapped`), with sounds
of nothing in the picture (`offscreen`, `mismatched`), and with sounds of other clips by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from .. import metrics
from ..benchmarks import SIZE_PX, MapSource, Pair, Prior, Sources, Subsets, Truth
from ..metrics import Floats, Maps
from ..score.protocols import PROTOCOLS, Protocol
from ..score.scoring import Measured, measure, measure_all
from .right_object import GROUPS, SUBSETS, SynthItem, SynthScores, right_object

NUM_SHUFFLES = 4
"""Shuffles that chance is averaged over: one alone strays by 0.05."""


@dataclass(frozen=True)
class Synth:
    """A synthetic world's test.

    Attributes:
        items: All pairs.
        boxes: Boxes of each clip's objects, `(k, 4)` shares of the side; one that sounds is first.
        silent: Classes of each clip's objects that do not sound.
    """

    items: tuple[SynthItem, ...]
    boxes: dict[str, Floats] = field(repr=False)
    silent: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)
    reads: Literal["maps"] = "maps"
    priors: tuple[Prior, ...] = ("saliency", "center", "object")
    left_out: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def clip_ids(self) -> list[str]:
        """Ids of all test clips."""
        return list(self.boxes)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many pairs of each group every subset holds."""
        return {
            subset: {
                group: sum(item.group == group and item.subset == subset for item in self.items)
                for group in GROUPS
            }
            for subset in SUBSETS
        }

    @property
    def num_official(self) -> int:
        """Clips of heard classes whose source is in the picture."""
        return self.counts[SUBSETS[0]]["positive"]

    @property
    def ceiling(self) -> float:
        """Largest LocAcc of half the picture, of heard classes: it needs a quarter of it."""
        heard = [item for item in self.items if item.subset == SUBSETS[0]]
        areas = [self._truth(item).sum() for item in heard if item.group == "positive"]
        return metrics.mean(np.array(areas) * 4 >= SIZE_PX**2)

    def only(self, have: AbstractSet[str]) -> Synth:
        """Leave out what needs other clips than these."""
        items = tuple(item for item in self.items if have >= set(item.pair))
        return replace(
            self, items=items, boxes={name: b for name, b in self.boxes.items() if name in have}
        )

    def truth(self, pair: Pair, positive: bool) -> Truth:
        """Return what to draw on a pair's frame; see `Benchmark.truth`."""
        boxes = np.asarray(self.boxes.get(pair.video, ()), np.float64).reshape(-1, 4).clip(0, 1)
        return Truth(boxes[:1], boxes[1:]) if positive else Truth(boxes[:0], boxes)

    def pairs(self) -> list[Pair]:
        """All pairs, with their own sounds and with those of every shuffle; each once."""
        own = [item.pair for item in self.items]
        shuffled = [
            Pair(pair.video, sounds[pair.audio]) for sounds in self._shuffles() for pair in own
        ]
        return list(dict.fromkeys([*own, *shuffled]))

    def score(
        self,
        source: MapSource,
        protocol: Protocol = PROTOCOLS["avpipe"],
        confidence: Floats | None = None,
    ) -> SynthScores:
        """Score a source of maps; see `Benchmark.score`."""
        right = np.full(len(self.items), np.nan)

        def look(part: slice) -> Measured:
            items = self.items[part]
            maps = source([item.pair for item in items])
            right[part] = [
                right_object(self.boxes[item.pair.video], item.target, one)
                for item, one in zip(items, maps, strict=True)
            ]
            num_boxes = np.array([item.target is not None for item in items], np.int64)
            return measure(maps, self._truths(items), num_boxes, protocol)

        measured = measure_all(len(self.items), look)
        if confidence is not None:
            measured = measured._replace(confidence=confidence)
        return SynthScores(self.items, measured, right, protocol)

    def sources(self) -> Sources:
        """Return what sounds in which picture, of heard classes; see `WithSources`."""
        heard = [item for item in self.items if item.subset == SUBSETS[0]]
        positives = [item for item in heard if item.group == "positive"]
        return Sources(
            [item.pair for item in positives],
            [self.silent.get(item.pair.video, frozenset()) | {item.label} for item in positives],
            {item.pair.audio: frozenset([item.label]) for item in positives},
            lambda part: self._truths(positives[part]),
            [item.pair for item in heard if item.group in ("offscreen", "mismatched")],
        )

    def controls(self, source: MapSource, protocol: Protocol) -> dict[str, Subsets]:
        """Score what chance gives: sounds of other clips, and boxes without listening."""
        return {
            "av_shuffled": self.score_shuffled(source, protocol),
            "random_true_box": self.score_random_box(),
        }

    def score_shuffled(
        self, source: MapSource, protocol: Protocol = PROTOCOLS["avpipe"]
    ) -> Subsets:
        """Score maps of every frame with the sound of another clip; mean over the shuffles."""
        rounds = []
        for sounds in self._shuffles():

            def shuffled(pairs: Sequence[Pair], sounds: dict[str, str] = sounds) -> Maps:
                return source([Pair(video, sounds[audio]) for video, audio in pairs])

            rounds.append(self.score(shuffled, protocol).scores)
        return {
            subset: {
                name: metrics.mean([scores[subset][name] for scores in rounds])
                for name in rounds[0][subset]
            }
            for subset in SUBSETS
        }

    def score_random_box(self) -> Subsets:
        """Return what one of the picture's boxes, taken at random, scores on average.

        The mean over all boxes, not a draw.
        """
        return {
            subset: {
                "right_object": metrics.mean([right for _, right in own]),
                "swapped_right_object": metrics.mean([right for _, right in moved]),
                "loc_acc_adaptive": metrics.mean([metrics.loc_acc(ciou) for ciou, _ in own]),
                "ciou_mean_adaptive": metrics.mean([ciou.mean() for ciou, _ in own]),
            }
            for subset in SUBSETS
            for own, moved in [[self._guesses(group, subset) for group in ("positive", "swapped")]]
        }

    def _guesses(self, group: str, subset: str) -> list[tuple[Floats, float]]:
        """Return, for each pair, the cIoU of every object as the answer, and `right_object`."""
        found = []
        for item in self.items:
            if (item.group, item.subset) == (group, subset):
                truth = self._truth(item)
                boxes = self.boxes[item.pair.video]
                guesses = np.stack([metrics.consensus_union(box, SIZE_PX) for box in boxes])
                ciou = metrics.ciou(guesses > 0, np.broadcast_to(truth, guesses.shape))
                right = metrics.mean([right_object(boxes, item.target, one) for one in guesses])
                found.append((ciou, right))
        return found

    def _shuffles(self) -> Iterator[dict[str, str]]:
        """Yield, for every shuffle, which sound takes the place of which; never its own."""
        names = sorted(self.boxes)
        for seed in range(NUM_SHUFFLES):
            order = np.random.default_rng(seed).permutation(len(names)).tolist()
            circle = [*order[1:], *order[:1]]
            yield {names[a]: names[b] for a, b in zip(order, circle, strict=True)}

    def _truth(self, item: SynthItem) -> Floats:
        """Draw the box of an item's target, nothing where none sounds."""
        boxes = np.zeros((0, 4))
        if item.target is not None:
            boxes = self.boxes[item.pair.video][item.target]
        return metrics.consensus_union(boxes, SIZE_PX)

    def _truths(self, items: Sequence[SynthItem]) -> Floats:
        return np.stack([self._truth(item) for item in items])
