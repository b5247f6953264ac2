"""Benchmarks with true boxes: which pairs there are, what is true of each, and their scores.

VGG-SS and Flickr-SoundNet are of this kind, with or without sounds of nothing in the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..benchmarks import (
    SIZE_PX,
    MapSource,
    Pair,
    Prior,
    Sample,
    Scores,
    Sources,
    Subsets,
    Truth,
)
from ..extras import Extra
from ..metrics import mean
from ..score.binarize import Bools, Floats
from ..score.protocols import PROTOCOLS, Protocol
from ..score.scoring import SIZES, Measured, curves, measure, measure_all, size_of, summary
from .boxes import union_masks
from .exchanged import exchanges, score_exchanged

PairKind = Literal["positive", "real", "easy", "hard", "negative"]
NEGATIVES: tuple[PairKind, ...] = ("real", "easy", "hard", "negative")
"""Sounds of nothing in the picture: the clip's own; of another class; of the same; not told."""
ALL = "all"
_HALF_PX = SIZE_PX**2 // 2
_DRAWS = 5
_CHUNK = 256
_AT_ONCE = 32
NOTHING = np.zeros((0, 4))
"""The truth of a sound of nothing in the picture."""
Draw = Callable[[Sequence[NDArray[Any]]], NDArray[Any]]


def boxes_to_show(boxes: NDArray[Any]) -> Truth:
    """Return boxes that are shares of the sides, cut at the frame's edge."""
    return Truth(np.asarray(boxes, np.float64).reshape(-1, 4).clip(0, 1), NOTHING)


class AnnotatedItem(NamedTuple):
    """One pair to score.

    Attributes:
        pair: Its frame and its sound.
        kind: Whether the sound's source is in the picture, and if not, why.
        label: Class of the sound, where it is known.
        source: Whose truth it is, by its name in `boxes`, if not all of the frame's clip.
        group: What it is counted with in `Extra.scores`, if not alone.
    """

    pair: Pair
    kind: PairKind
    label: str
    source: str = ""
    group: str = ""


@dataclass(frozen=True)
class Annotated:
    """A test with true boxes.

    Attributes:
        items: All pairs.
        boxes: True boxes, or the mask, of each clip whose source is in the picture: what `draw`
            takes.
        draw: Makes truths `(n, 224, 224)` of those of n clips, nothing of `NOTHING`.
        show: Makes what is drawn on a frame of those of one clip.
        num_official: Clips with a source in the picture, unreadable ones included.
        lists: Subsets by name: the clips of each.
        notices: Lines about broken boxes and missing files.
        left_out: Clips that are listed and have no truth, which are not tested.
        extra: What is scored beside cIoU.
    """

    items: tuple[AnnotatedItem, ...]
    boxes: Mapping[str, NDArray[Any]] = field(repr=False)
    draw: Draw = union_masks
    show: Callable[[NDArray[Any]], Truth] = boxes_to_show
    num_official: int = 0
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    notices: tuple[str, ...] = ()
    reads: Literal["maps"] = "maps"
    priors: tuple[Prior, ...] = ("center", "object")
    left_out: tuple[str, ...] = ()
    extra: Extra | None = field(default=None, repr=False)

    @cached_property
    def clip_ids(self) -> list[str]:
        """Ids of all clips it needs."""
        return list(dict.fromkeys(name for item in self.items for name in item.pair.clips))

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many pairs of each kind every subset holds."""
        kinds = np.array([item.kind for item in self.items])
        numbers = {
            name: {kind: int((kinds[keep] == kind).sum()) for kind in ("positive", *NEGATIVES)}
            for name, keep in self.subsets().items()
        }
        return {name: {k: n for k, n in of.items() if n} for name, of in numbers.items()}

    @cached_property
    def ceiling(self) -> float:
        """Largest LocAcc that a prediction of half the picture can reach."""
        return mean(self._best >= 0.5)

    def only(self, have: AbstractSet[str]) -> Annotated:
        """Leave out what needs other clips than these."""
        here = np.array([have >= set(item.pair.clips) for item in self.items], bool)
        return replace(
            self, items=tuple(self.items[row] for row in np.flatnonzero(self.whole(here)))
        )

    def whole(self, keep: Bools) -> Bools:
        """Leave out what is counted with items that are left out, where all or none of them count.

        Args:
            keep: `(items,)`.
        """
        if self.extra is None or not self.extra.joint:
            return keep
        lacking = {item.group for item, there in zip(self.items, keep, strict=True) if not there}
        counts = [not item.group or item.group not in lacking for item in self.items]
        return np.logical_and(keep, counts)

    def truth(self, pair: Pair, positive: bool) -> Truth:
        """Return what to draw on a pair's frame; see `Benchmark.truth`."""
        known = self.boxes.get(self._source_of.get(pair, pair.video)) if positive else None
        return Truth(NOTHING, NOTHING) if known is None else self.show(known)

    @cached_property
    def _source_of(self) -> dict[Pair, str]:
        """Name in `boxes` of each pair's truth, the first where it has several."""
        return {item.pair: _source(item) for item in reversed(self.items)}

    def pairs(self) -> list[Pair]:
        """All pairs, and those of the frames with sounds of other clips; each once."""
        own = [item.pair for item in self.items]
        exchanged = (pair for pairs in exchanges(self._alone.items) for pair in pairs)
        return list(dict.fromkeys([*own, *exchanged]))

    def score(
        self,
        source: MapSource,
        protocol: Protocol = PROTOCOLS["avpipe"],
        confidence: Floats | None = None,
    ) -> AnnotatedScores:
        """Score a source of maps; see `Benchmark.score`."""
        more: dict[int, Floats] = {}

        def look(part: slice) -> Measured:
            items = self.items[part]
            maps, truths = source([item.pair for item in items]), self._truths(items)
            if self.extra and items:
                more[part.start] = self.extra.look(maps, truths, items, protocol)
            return measure(maps, truths, self._num_boxes(items), protocol)

        measured = measure_all(len(self.items), look, chunk=self._chunk)
        if confidence is not None:
            measured = measured._replace(confidence=confidence)
        rows = np.concatenate([more[start] for start in sorted(more)]) if more else None
        return AnnotatedScores(self, measured, protocol, rows)

    @property
    def _chunk(self) -> int:
        """Items looked at together: whole groups, all as large as the first, where they must be."""
        size = 1
        if self.extra and self.extra.joint and self.items and (first := self.items[0].group):
            size = next(
                (n for n, item in enumerate(self.items) if item.group != first), len(self.items)
            )
        return max(1, _AT_ONCE // size) * size

    def controls(self, source: MapSource, protocol: Protocol) -> dict[str, Subsets]:
        """Score the clips with a source with sounds of other clips; see `score_exchanged`."""
        return score_exchanged(self._alone, source, protocol)

    @cached_property
    def _alone(self) -> Annotated:
        """The clips whose source is in the picture, where a frame has one truth."""
        alone = (item for item in self.items if item.kind == "positive" and not item.source)
        return replace(self, items=tuple(alone))

    def sources(self) -> Sources:
        """Return what sounds in which picture; see `WithSources`."""
        positives = [item for item in self.items if item.kind == "positive"]
        shown, heard = dict[str, set[str]](), dict[str, set[str]]()
        for item in positives:
            for classes, name in ((shown, item.pair.video), (heard, item.pair.audio)):
                classes.setdefault(name, set()).update(filter(None, [item.label]))
        return Sources(
            [item.pair for item in positives],
            [frozenset(shown[item.pair.video]) for item in positives],
            {name: frozenset(classes) for name, classes in heard.items()},
            lambda part: self._truths(positives[part]),
            [item.pair for item in self.items if item.kind != "positive"],
        )

    def subsets(self) -> dict[str, Bools]:
        """Return which items each subset takes: all, by size of the truth, by list."""
        positive = self.positive
        sizes = np.array(size_of(self._areas_px))
        videos = [item.pair.video for item in self.items]
        of_lists = {
            name: np.array([video in ids for video in videos], bool)
            for name, ids in self.lists.items()
        }
        return {
            ALL: np.ones(len(self.items), bool),
            **{name: positive & (sizes == name) for name in SIZES},
            **of_lists,
        }

    @cached_property
    def positive(self) -> Bools:
        """`(pairs,)` whether the sound's source is in the picture."""
        return np.array([item.kind == "positive" for item in self.items], bool)

    def _truths(self, items: Sequence[AnnotatedItem]) -> NDArray[Any]:
        return self.draw([self._boxes_of(item) for item in items])

    def _boxes_of(self, item: AnnotatedItem) -> NDArray[Any]:
        return self.boxes[_source(item)] if item.kind == "positive" else NOTHING

    def _num_boxes(self, items: Sequence[AnnotatedItem]) -> NDArray[np.int64]:
        """Count boxes; a clip with broken ones alone is no negative, a mask counts as one."""
        truths = [self._boxes_of(item) for item in items]
        counted = [1 if truth.dtype == bool else max(1, len(truth)) for truth in truths]
        kinds = [item.kind == "positive" for item in items]
        return np.array(counted, np.int64) * np.array(kinds, np.int64)

    @cached_property
    def _areas_px(self) -> Floats:
        """`(pairs,)` sum of each truth."""
        return np.concatenate([_areas(truths) for truths in self._drawn(self.items)])

    @cached_property
    def _best(self) -> Floats:
        """Largest cIoU that half the picture can have, of each positive."""
        found = [np.zeros(0)]
        for truths in self._drawn([item for item in self.items if item.kind == "positive"]):
            full = _areas(truths == 1)
            part = _areas(truths > 0) - full  # Flickr: pixels that one annotator marked
            hit = np.minimum(full, _HALF_PX)
            beside = np.minimum(part, _HALF_PX - hit)
            whole = _areas(truths) + _HALF_PX - hit - beside
            found.append((hit + beside / 2) / whole)
        return np.concatenate(found)

    def _drawn(self, items: Sequence[AnnotatedItem]) -> Iterator[NDArray[Any]]:
        """Yield the truths of items, some at a time."""
        for start in range(0, len(items), _CHUNK):
            yield self._truths(items[start : start + _CHUNK])


def _areas(truths: NDArray[Any]) -> Floats:
    """Return the sum of each truth, `(n,)`: of masks by counting, which is faster."""
    if truths.dtype == bool:
        return np.array([np.count_nonzero(truth) for truth in truths], np.float64)
    return np.asarray(truths.sum((1, 2), dtype=np.float64))


def _source(item: AnnotatedItem) -> str:
    return item.source or item.pair.video


@dataclass(frozen=True)
class AnnotatedScores:
    """What a test says about one source of maps; see `Scored`.

    Attributes:
        test: The test.
        measured: Of every item.
        protocol: How it was measured.
        more: `(items, k)` what `test.extra` keeps of each.
    """

    test: Annotated
    measured: Measured
    protocol: Protocol
    more: Floats | None = None

    @property
    def confidence(self) -> Floats:
        """`(pairs,)` how sure each map is that there is a source."""
        return self.measured.confidence

    @cached_property
    def scores(self) -> Subsets:
        """Scores of all, by size, by list, and by kind of negative."""
        subsets = self.test.subsets()
        scores = {name: self._summary(keep) for name, keep in subsets.items()}
        kinds = [kind for kind in NEGATIVES if kind in self.test.counts[ALL]]
        if len(kinds) > 1:
            scores.update({kind: self._against(kind) for kind in kinds})
        return scores

    def headline(self, without: AbstractSet[str] = frozenset()) -> tuple[int, Scores]:
        """Return how many clips count without those, and the scores of all pairs."""
        keep = np.array([without.isdisjoint(item.pair.clips) for item in self.test.items], bool)
        keep = self.test.whole(keep)
        num = int((keep & self.test.positive).sum())
        return num, self._summary(keep)

    def _summary(self, keep: Bools) -> Scores:
        """Reduce the rows of some items to scores."""
        return self._of_rows(np.flatnonzero(keep))

    def _of_rows(self, rows: NDArray[np.int64]) -> Scores:
        """Return the scores of some items, by their numbers, each as often as it is named."""
        measured = self.measured.only(rows)
        found = summary(measured, np.ones(len(rows), bool), self.protocol)
        if self.more is None or self.test.extra is None or not len(rows):
            return found
        items = [self.test.items[row] for row in rows.tolist()]
        return found | self.test.extra.scores(self.more[rows], measured, items, self.protocol)

    @property
    def clips(self) -> list[str]:
        """What each item is drawn with: its group, else the clip whose frame it is."""
        return [item.group or item.pair.video for item in self.test.items]

    def drawn(self, rows: NDArray[np.int64]) -> Scores:
        """Return the scores of some items, by their numbers, each as often as it is named."""
        return self._of_rows(rows)

    def at(self, level: float) -> Scores:
        """Return the scores of all pairs where a source counts as localized from a cIoU on."""
        everything = np.ones(len(self.test.items), bool)
        return summary(self.measured, everything, self.protocol, at=(level,))

    def _against(self, kind: PairKind) -> Scores:
        """Score the negatives of one kind among as many positives (SLAVC, Table 5).

        Which positives is drawn; the figures are means over draws.
        """
        negatives = np.array([item.kind == kind for item in self.test.items], bool)
        positives = np.flatnonzero(self.test.positive)
        num = min(len(positives), int(negatives.sum()))
        rounds = []
        for seed in range(_DRAWS):
            keep = negatives.copy()
            keep[np.random.default_rng(seed).choice(positives, num, replace=False)] = True
            rounds.append(summary(self.measured, keep, self.protocol, at=(0.5,)))
        names = [name for name in rounds[0] if name.startswith(("ap", "max_f1"))]
        return {name: mean([scores[name] for scores in rounds]) for name in names}

    @property
    def samples(self) -> list[Sample]:
        """One record per pair."""
        rows = self.measured
        return [
            {
                "video": item.pair.video,
                "audio": item.pair.audio,
                "kind": item.kind,
                "label": item.label,
                "size": size if item.kind == "positive" else "",
                "boxes": int(rows.num_boxes[i]),
                "area_px": float(rows.area_px[i]),
                "confidence": float(rows.confidence[i]),
                **{
                    f"ciou{suffix}": float(values[i]) if item.kind == "positive" else float("nan")
                    for suffix, values in self._ciou
                },
            }
            for i, (item, size) in enumerate(
                zip(self.test.items, size_of(rows.area_px), strict=True)
            )
        ]

    @property
    def _ciou(self) -> list[tuple[str, Floats]]:
        rows = self.measured
        return [("", rows.ciou), ("_adaptive", rows.ciou_adaptive), ("_fixed", rows.ciou_fixed)]

    @property
    def curves(self) -> dict[str, list[float]]:
        """Curves behind the scores of all."""
        return curves(self.measured, np.ones(len(self.test.items), bool), self.protocol)
