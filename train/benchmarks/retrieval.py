"""Retrieval on VGG-SS: which frame does a sound come from, and the reverse?

As in Table 6 of SSL alignment, which does not say whether a frame of the same class counts: both
are given, over clips and over classes (`_class`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..score.binarize import Floats
from ..score.protocols import PROTOCOLS, Protocol
from ..truths.annotations import short_of
from ..truths.forms import Form
from ..truths.recalled import ALL, RetrievalScores
from . import MapSource, Pair, Prior, Subsets, Truth, vggss

FORM = Form(
    {
        **{f"{way}_r{k}": f"{way.upper()} R@{k}" for way in ("a2i", "i2a") for k in (1, 5, 10)},
        "a2i_r1_class": "A2I class",
        "i2a_r1_class": "I2A class",
    },
    "a2i_r1",
    "A2I R@k: a sound's own frame is among its k most similar; I2A: a frame's own sound.\n"
    "class: the most similar one is of the same class. Percent.",
    has_maps=False,
)
GEOMETRY = "vggss"


@dataclass(frozen=True)
class Retrieval:
    """A test of retrieval; see `Benchmark`.

    Attributes:
        labels: Class of each clip.
        notices: Lines about what the file lacks.
    """

    labels: dict[str, str]
    notices: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    reads: Literal["embeddings"] = "embeddings"
    priors: tuple[Prior, ...] = ()

    @property
    def clip_ids(self) -> list[str]:
        """Ids of all clips."""
        return list(self.labels)

    @property
    def num_official(self) -> int:
        """All clips."""
        return len(self.labels)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many clips there are."""
        return {ALL: {"positive": len(self.labels)}}

    @property
    def ceiling(self) -> float:
        """There are no maps."""
        return float("nan")

    def only(self, have: AbstractSet[str]) -> Retrieval:
        """Leave out other clips than these: retrieval among fewer is easier."""
        return replace(self, labels={n: label for n, label in self.labels.items() if n in have})

    def truth(self, pair: Pair, positive: bool) -> Truth:
        """Nothing: no place in a frame is asked for."""
        return Truth(np.zeros((0, 4)), np.zeros((0, 4)))

    def pairs(self) -> list[Pair]:
        """Every clip with its own sound."""
        return [Pair(name, name) for name in self.labels]

    def score(
        self,
        source: MapSource,
        protocol: Protocol = PROTOCOLS["avpipe"],
        confidence: Floats | None = None,
    ) -> RetrievalScores:
        """Score embeddings `(n, 2, D)` of frames and sounds; protocols do not differ here."""
        frames, sounds = np.moveaxis(source(self.pairs()), 1, 0)
        return RetrievalScores(self.labels, sounds @ frames.T)

    def controls(self, source: MapSource, protocol: Protocol) -> dict[str, Subsets]:
        """Nothing: chance is k in n."""
        return {}


def load(annotations: Path) -> Retrieval:
    """Read the clips of VGG-SS.

    Args:
        annotations: `vggss.json`, or the folder that holds it.

    Raises:
        InputError: If it is missing or cannot be read.
    """
    path, boxes = vggss.read_boxes(annotations)
    return Retrieval(boxes.labels, short_of(path, len(boxes.labels), vggss.NUM_CLIPS, "clips"))
