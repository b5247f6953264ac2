"""Synthetic clips: which of the objects in the picture does the map find, and does it listen?

A map of the sounding object can come from looking alone; these scores cannot:

right object: the map's mean is higher in the box that sounds than in a silent one (chance 0.5).
swapped: the same when the frame is given the sound of its silent object: the map has to move.
off-screen, mismatched: a map's peak is higher where the source is in the picture (AUROC).

The headline counts the classes heard in training; the held-out ones are the subset `unheard`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .. import metrics
from ..metrics import Bools, Floats, Maps
from ..score.protocols import PROTOCOLS, Protocol
from ..score.scoring import Measured, curves, measure, measure_all, summary
from ..truths.annotations import flag, read_json_boxes, read_rows
from ..truths.forms import Form
from . import SIZE_PX, MapSource, Pair, Prior, Sample, Scores, Sources, Subsets, Truth

FORM = Form(
    {
        "right_object": "right object",
        "swapped_right_object": "swapped",
        "auroc_offscreen": "off-screen",
        "auroc_mismatched": "mismatched",
        "loc_acc_adaptive": "LocAcc",
        "ciou_mean_adaptive": "mean cIoU",
    },
    "loc_acc_adaptive",
    """\
right object: the map is higher on the object that sounds than on the silent one (chance 0.5)
swapped: the same when the frame is given its silent object's sound: the map has to move
off-screen, mismatched: AUROC of the map's peak against sounds of nothing in the picture
LocAcc (cIoU@0.5) and mean cIoU: as many pixels predicted as the sounding object has""",
    percent=False,
    subset_title="{} classes",
)
GEOMETRY = "elsewhere"

Group = Literal["positive", "offscreen", "mismatched", "swapped"]
GROUPS: tuple[Group, ...] = ("positive", "offscreen", "mismatched", "swapped")
SUBSETS = ("heard", "unheard")
NUM_SHUFFLES = 4
"""Shuffles that chance is averaged over: one alone strays by 0.05."""
_FILES = ("labels.csv", "vggss.json", "plus_silent.csv", "swapped.csv", "silent_boxes.json")


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
                group: sum(
                    item.group == group and item.unheard == (subset == "unheard")
                    for item in self.items
                )
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
        heard = [item for item in self.items if _subset(item) == SUBSETS[0]]
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
                self._right_object(item, one) for item, one in zip(items, maps, strict=True)
            ]
            num_boxes = np.array([item.target is not None for item in items], np.int64)
            return measure(maps, self._truths(items), num_boxes, protocol)

        measured = measure_all(len(self.items), look)
        if confidence is not None:
            measured = measured._replace(confidence=confidence)
        return SynthScores(self, measured, right, protocol)

    def sources(self) -> Sources:
        """Return what sounds in which picture, of heard classes; see `WithSources`."""
        heard = [item for item in self.items if _subset(item) == SUBSETS[0]]
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
            if (item.group, _subset(item)) == (group, subset):
                truth = self._truth(item)
                boxes = self.boxes[item.pair.video]
                guesses = np.stack([metrics.consensus_union(box, SIZE_PX) for box in boxes])
                ciou = metrics.ciou(guesses > 0, np.broadcast_to(truth, guesses.shape))
                right = metrics.mean([self._right_object(item, guess) for guess in guesses])
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

    def _right_object(self, item: SynthItem, one_map: Maps) -> float:
        """Return the share of the other objects that the target beats; a tie is half a win."""
        if item.target is None:
            return float("nan")
        boxes_px = metrics.corners_px(self.boxes[item.pair.video], SIZE_PX)
        levels = metrics.mean_in_boxes(
            np.broadcast_to(one_map, (len(boxes_px), *one_map.shape)), boxes_px
        )
        others = np.delete(levels, item.target)
        return metrics.mean((levels[item.target] > others) + (levels[item.target] == others) / 2)


@dataclass(frozen=True)
class SynthScores:
    """What a world's test says about one source of maps; see `Scored`.

    Attributes:
        test: The test.
        measured: Of every item.
        right: `(items,)` share of the other objects that the target beats.
        protocol: How it was measured.
    """

    test: Synth
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
        keep = np.array([without.isdisjoint(item.pair) for item in self.test.items], bool)
        keep &= self._of(SUBSETS[0])
        return int((keep & self._groups["positive"]).sum()), self._summary(keep)

    @property
    def clips(self) -> list[str]:
        """The clip of each item, whose frame it is."""
        return [item.pair.video for item in self.test.items]

    def drawn(self, rows: NDArray[np.int64]) -> Scores:
        """Return the scores of heard classes of some items, each as often as it is named."""
        test = replace(self.test, items=tuple(self.test.items[row] for row in rows.tolist()))
        drawn = SynthScores(test, self.measured.only(rows), self.right[rows], self.protocol)
        return drawn.headline()[1]

    def _of(self, subset: str) -> Bools:
        return np.array([_subset(item) == subset for item in self.test.items], bool)

    @cached_property
    def _groups(self) -> dict[Group, Bools]:
        groups = np.array([item.group for item in self.test.items])
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
                "subset": _subset(item),
                "video": item.pair.video,
                "audio": item.pair.audio,
                "label": item.label,
                "confidence": float(rows.confidence[i]),
                "ciou": nan if item.target is None else float(rows.ciou[i]),
                "ciou_adaptive": nan if item.target is None else float(rows.ciou_adaptive[i]),
                "right_object": float(self.right[i]),
            }
            for i, item in enumerate(self.test.items)
        ]

    @property
    def curves(self) -> dict[str, list[float]]:
        """Curves of the heard classes and all negatives."""
        keep = self._of(SUBSETS[0]) & ~self._groups["swapped"]
        return curves(self.measured, keep, self.protocol)


def _subset(item: SynthItem) -> str:
    return "unheard" if item.unheard else "heard"


def load(annotations: Path) -> Synth:
    """Read the test of a world made by `avpipe synth`.

    Args:
        annotations: Its folder, or a file in it.

    Raises:
        InputError: If a list is missing or cannot be read.
    """
    folder = annotations.parent if annotations.is_file() else annotations
    if absent := [name for name in _FILES if not (folder / name).exists()]:
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else {"nothing"}
        if there and there.isdisjoint({*_FILES, "videos"}):
            raise InputError(f"{folder} is not a folder that `avpipe synth` made; name that one")
        raise InputError(
            f"{folder / absent[0]} is missing; `avpipe synth {folder}` makes or completes a world"
        )
    try:
        return _read(folder)
    except KeyError as error:
        raise InputError(f"{folder}: the lists of this world do not agree on {error}") from None


def _read(folder: Path) -> Synth:
    sounding = read_json_boxes(folder / "vggss.json").by_clip
    beside = read_json_boxes(folder / "silent_boxes.json")
    silent = beside.by_clip
    table = folder / "labels.csv"
    clips = {row["id"]: row for row in read_rows(table, "id", "label", "held_out", "offscreen")}
    unheard_of = {name: flag(table, row, "held_out") for name, row in clips.items()}
    offscreen = {name for name, row in clips.items() if flag(table, row, "offscreen")}
    if both := offscreen.intersection(sounding):
        raise KeyError(min(both))
    boxes = {
        name: np.concatenate([sounding.get(name, np.zeros((0, 4))), own])
        for name, own in silent.items()
    }

    def item(group: Group, video: str, audio: str, target: int | None) -> SynthItem:
        unheard = unheard_of[video]
        if target is not None and target >= len(boxes[video]):
            raise KeyError(video)
        return SynthItem(group, Pair(video, audio), clips[audio]["label"], unheard, target)

    items = [item("positive", name, name, 0) for name in sounding]
    for row in read_rows(folder / "plus_silent.csv", "video", "audio"):
        group: Group = "offscreen" if row["video"] == row["audio"] else "mismatched"
        items.append(item(group, row["video"], row["audio"], None))
    for row in read_rows(folder / "swapped.csv", "video", "audio", "silent"):
        if not row["silent"].isdecimal():
            raise InputError(f"{folder / 'swapped.csv'}: silent is {row['silent']!r}, no number")
        target = len(sounding[row["video"]]) + int(row["silent"])
        items.append(item("swapped", row["video"], row["audio"], target))
    shown = {name: frozenset(text.split()) for name, text in beside.labels.items()}
    return Synth(tuple(items), boxes, shown)
