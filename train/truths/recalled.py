"""What a test of retrieval says about embeddings of frames and sounds."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..benchmarks import Sample, Scores, Subsets
from ..score.binarize import Floats
from ..score.recall import Places, retrieval_places, retrieval_scores, scores_of_places

ALL = "all"


@dataclass(frozen=True)
class RetrievalScores:
    """What the test says about embeddings; see `Scored`.

    Attributes:
        labels: Class of each clip, "" where it is not known.
        similarity: `(n, n)` of sound i and frame j.
    """

    labels: Mapping[str, str]
    similarity: NDArray[np.floating]

    @cached_property
    def scores(self) -> Subsets:
        """Recalls among all clips."""
        return {ALL: self.headline()[1]}

    def headline(self, without: AbstractSet[str] = frozenset()) -> tuple[int, Scores]:
        """Return how many clips are searched without those, and the recalls among them."""
        keep = [i for i, name in enumerate(self.labels) if name not in without]
        labels = [self._classes[i] for i in keep]
        return len(keep), retrieval_scores(self.similarity[np.ix_(keep, keep)], labels)

    @property
    def clips(self) -> list[str]:
        """The clips."""
        return list(self.labels)

    def drawn(self, rows: NDArray[np.int64]) -> Scores:
        """Return the recalls of some clips, by their numbers, each as often as it is named.

        They are searched for among all clips: among fewer, or with copies of them, the task would
        be another.
        """
        return scores_of_places({name: places[rows] for name, places in self._places.items()})

    @cached_property
    def _places(self) -> Places:
        return retrieval_places(self.similarity, self._classes)

    @cached_property
    def _classes(self) -> list[object]:
        """The class of each clip; one whose class is not known is of a class of its own."""
        return [label or number for number, label in enumerate(self.labels.values())]

    @property
    def confidence(self) -> Floats:
        """How alike each clip's frame and sound are."""
        return np.diagonal(self.similarity).astype(np.float64)

    @property
    def samples(self) -> list[Sample]:
        """For each clip, how many others are found before it."""
        before = [self._places["a2i", ""], self._places["i2a", ""]]
        return [
            {
                "clip": name,
                "label": label,
                "similarity": float(self.confidence[i]),
                "frames_before": int(before[0][i]),
                "sounds_before": int(before[1][i]),
            }
            for i, (name, label) in enumerate(self.labels.items())
        ]

    @property
    def curves(self) -> dict[str, list[float]]:
        """None."""
        return {}
