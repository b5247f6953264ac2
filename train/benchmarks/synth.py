"""Synthetic clips: which of the objects in the picture does the map find, and does it listen?

A map of the sounding object can come from looking alone; these scores cannot:

right object: the map's mean is higher in the box that sounds than in a silent one (chance 0.5).
swapped: the same when the frame is given the sound of its silent object: the map has to move.
off-screen, mismatched: a map's peak is higher where the source is in the picture (AUROC).

The headline counts the classes heard in training; the held-out ones are the subset `unheard`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .. import metrics
from ..metrics import Floats, Maps, Threshold
from . import SIZE_PX, MapSource, Pair, Scored, Scores

Group = Literal["positive", "offscreen", "mismatched", "swapped"]
GROUPS: tuple[Group, ...] = ("positive", "offscreen", "mismatched", "swapped")
SUBSETS = ("heard", "unheard")
NUM_SHUFFLES = 4
"""Shuffles that chance is averaged over: one alone strays by 0.05."""
_CHUNK = 128


@dataclass(frozen=True)
class Item:
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
    """

    items: tuple[Item, ...]
    boxes: dict[str, Floats] = field(repr=False)

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
    def ceiling(self) -> float:
        """Largest LocAcc of half the picture: boxes under a quarter of it are out of reach."""
        areas = [truth.sum() for item, truth in self._truths() if item.group == "positive"]
        return metrics.mean(np.array(areas) * 4 >= SIZE_PX**2)

    def only(self, have: AbstractSet[str]) -> Synth:
        """Leave out what needs other clips than these."""
        items = tuple(item for item in self.items if have >= set(item.pair))
        return replace(
            self, items=items, boxes={name: b for name, b in self.boxes.items() if name in have}
        )

    def pairs(self) -> list[Pair]:
        """All pairs, with their own sounds and with those of every shuffle; each once."""
        own = [item.pair for item in self.items]
        shuffled = [
            Pair(pair.video, sounds[pair.audio]) for sounds in self._shuffles() for pair in own
        ]
        return list(dict.fromkeys([*own, *shuffled]))

    def score(self, maps: MapSource) -> Scored:
        """Score a source of maps; the records of `samples` are in the order of `items`."""
        samples = [record for chunk in _chunks(self.items) for record in self._measure(chunk, maps)]
        return Scored({subset: self._summary(samples, subset) for subset in SUBSETS}, samples)

    def score_shuffled(self, maps: MapSource) -> dict[str, Scores]:
        """Score maps of every frame with the sound of another clip; mean over the shuffles."""
        rounds = []
        for sounds in self._shuffles():

            def shuffled(pairs: Sequence[Pair], sounds: dict[str, str] = sounds) -> Maps:
                return maps([Pair(video, sounds[audio]) for video, audio in pairs])

            rounds.append(self.score(shuffled).scores)
        return {
            subset: {
                name: metrics.mean([scores[subset][name] for scores in rounds])
                for name in rounds[0][subset]
            }
            for subset in SUBSETS
        }

    def score_random_box(self) -> dict[str, Scores]:
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
        for item, truth in self._truths():
            if (item.group, _subset(item)) == (group, subset):
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

    def _truths(self) -> Iterator[tuple[Item, Floats]]:
        """Yield the pairs that have a target, with its box drawn."""
        for item in self.items:
            if item.target is not None:
                box = self.boxes[item.pair.video][item.target]
                yield item, metrics.consensus_union(box, SIZE_PX)

    def _measure(
        self, items: Sequence[Item], source: MapSource
    ) -> Iterator[dict[str, str | float]]:
        """Yield one record per pair."""
        maps = source([item.pair for item in items])
        confidence = metrics.confidences(maps)
        truths = np.zeros(maps.shape)
        for index, item in enumerate(items):
            if item.target is not None:
                truths[index] = metrics.consensus_union(
                    self.boxes[item.pair.video][item.target], SIZE_PX
                )
        areas = np.count_nonzero(truths, axis=(1, 2))
        median = metrics.ciou(metrics.binarize(maps, Threshold.MEDIAN), truths)
        adaptive = metrics.ciou(metrics.binarize(maps, Threshold.ADAPTIVE, areas_px=areas), truths)
        for index, item in enumerate(items):
            known = item.target is not None
            yield {
                "group": item.group,
                "subset": _subset(item),
                "video": item.pair.video,
                "audio": item.pair.audio,
                "label": item.label,
                "confidence": float(confidence[index]),
                "ciou": float(median[index]) if known else float("nan"),
                "ciou_adaptive": float(adaptive[index]) if known else float("nan"),
                "right_object": self._right_object(item, maps[index]),
            }

    def _right_object(self, item: Item, one_map: NDArray[np.floating[Any]]) -> float:
        """Return the share of the other objects that the target beats; a tie is half a win."""
        if item.target is None:
            return float("nan")
        boxes_px = metrics.corners_px(self.boxes[item.pair.video], SIZE_PX)
        levels = metrics.mean_in_boxes(
            np.broadcast_to(one_map, (len(boxes_px), *one_map.shape)), boxes_px
        )
        others = np.delete(levels, item.target)
        return metrics.mean((levels[item.target] > others) + (levels[item.target] == others) / 2)

    def _summary(self, samples: Sequence[dict[str, str | float]], subset: str) -> Scores:
        """Reduce the records of one subset to its scores."""

        def column(name: str, *groups: Group) -> Floats:
            return np.array(
                [s[name] for s in samples if s["group"] in groups and s["subset"] == subset], float
            )

        peaks = {group: column("confidence", group) for group in GROUPS}
        negative = np.concatenate([peaks["offscreen"], peaks["mismatched"]])
        scores: Scores = {
            "right_object": metrics.mean(column("right_object", "positive")),
            "swapped_right_object": metrics.mean(column("right_object", "swapped")),
            "auroc_offscreen": metrics.auroc(peaks["positive"], peaks["offscreen"]),
            "auroc_mismatched": metrics.auroc(peaks["positive"], peaks["mismatched"]),
        }
        for suffix in ("_adaptive", ""):
            own, moved = (column(f"ciou{suffix}", g) for g in ("positive", "swapped"))
            scores[f"loc_acc{suffix}"] = metrics.loc_acc(own)
            scores[f"ciou_mean{suffix}"] = metrics.mean(own)
            scores[f"auc{suffix}"] = metrics.auc(own)
            scores[f"swapped_loc_acc{suffix}"] = metrics.loc_acc(moved)
            if len(negative):
                everything = (
                    np.concatenate([peaks["positive"], negative]),
                    np.concatenate([own, np.zeros(len(negative))]),
                    np.arange(len(own) + len(negative)) < len(own),
                )
                scores[f"ap{suffix}"] = metrics.average_precision(*everything)
                scores[f"max_f1{suffix}"] = metrics.max_f1(*everything)
            else:  # there are no held-out negatives
                scores[f"ap{suffix}"] = scores[f"max_f1{suffix}"] = float("nan")
        return scores


def _subset(item: Item) -> str:
    return "unheard" if item.unheard else "heard"


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def load(annotations: Path) -> Synth:
    """Read the test of a world made by `avpipe synth`.

    Args:
        annotations: Its folder, or a file in it.

    Raises:
        InputError: If a list is missing or cannot be read.
    """
    folder = annotations.parent if annotations.is_file() else annotations
    try:
        return _read(folder)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename} is missing; `avpipe synth {folder}` makes or completes a world"
        ) from None
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read ({error.strerror})") from None
    except KeyError as error:
        raise InputError(f"{folder}: the lists of this world do not agree on {error}") from None
    except ValueError as error:
        raise InputError(f"{folder}: not the lists of a synthetic world ({error})") from None


def _read(folder: Path) -> Synth:
    clips = {row["id"]: row for row in _rows(folder / "labels.csv", "id", "label", "held_out")}
    sounding, silent = (_boxes(folder / name) for name in ("vggss.json", "silent_boxes.json"))
    boxes = {
        name: np.concatenate([sounding.get(name, np.zeros((0, 4))), own])
        for name, own in silent.items()
    }

    def item(group: Group, video: str, audio: str, target: int | None) -> Item:
        unheard = clips[video]["held_out"] == "1"
        if target is not None and target >= len(boxes[video]):
            raise KeyError(video)
        return Item(group, Pair(video, audio), clips[audio]["label"], unheard, target)

    items = [item("positive", name, name, 0) for name in sounding]
    for row in _rows(folder / "plus_silent.csv", "video", "audio"):
        group: Group = "offscreen" if row["video"] == row["audio"] else "mismatched"
        items.append(item(group, row["video"], row["audio"], None))
    for row in _rows(folder / "swapped.csv", "video", "audio", "silent"):
        target = len(sounding[row["video"]]) + int(row["silent"])
        items.append(item("swapped", row["video"], row["audio"], target))
    return Synth(tuple(items), boxes)


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = list(csv.DictReader(file))
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path.name}: {error}") from None
    for row in rows:
        if absent := [name for name in columns if row.get(name) is None]:
            raise ValueError(f"{path.name}: a line without {absent[0]}")
    return rows


def _boxes(path: Path) -> dict[str, Floats]:
    content = path.read_bytes()
    try:
        return {
            entry["file"]: np.asarray(entry["bbox"], float).reshape(-1, 4)
            for entry in json.loads(content)
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: {error!r}") from None
