"""Benchmarks: one file each; the file name is the name `evaluate --benchmark` takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from ...errors import UsageError
from ..metrics import Maps

SIZE_PX = 224
"""Side of the maps that are scored, as in every protocol of the family."""


class Pair(NamedTuple):
    """The frame of one clip and the sound of one, the same or another: what a map is made of."""

    video: str
    audio: str


MapSource = Callable[[Sequence[Pair]], Maps]
"""Localization maps of pairs, `(n, 224, 224)`: of a run, of a prior, or of shuffled sound."""

Scores = dict[str, float]


@dataclass(frozen=True)
class Scored:
    """What a benchmark says about one source of maps.

    Attributes:
        scores: Scores of each subset by name; NaN where a subset has nothing to score.
        samples: One record per pair, for the csv.
    """

    scores: dict[str, Scores]
    samples: list[dict[str, str | float]]


class Benchmark(Protocol):
    """What `load` of a file of this folder returns."""

    @property
    def clip_ids(self) -> Sequence[str]:
        """Ids of all clips it needs."""

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many pairs of each kind every subset holds; the first subset is the headline."""

    @property
    def ceiling(self) -> float:
        """Largest LocAcc that a prediction of half the picture can reach."""

    def only(self, have: AbstractSet[str]) -> Benchmark:
        """Leave out what needs other clips than these."""

    def pairs(self) -> list[Pair]:
        """All pairs whose maps it scores, sounds shuffled over clips included; each once."""

    def score(self, maps: MapSource) -> Scored:
        """Score a source of maps."""

    def score_shuffled(self, maps: MapSource) -> dict[str, Scores]:
        """Score a source of maps that is given the sounds of other clips: what chance gives."""

    def score_random_box(self) -> dict[str, Scores]:
        """Return what a deaf but perfect finder of objects expects."""


class _Module(Protocol):
    def load(self, annotations: Path) -> Benchmark:
        """Read a benchmark's annotations."""


def benchmark_names() -> list[str]:
    """Return the benchmarks there are, from their file names."""
    stems = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(stem.replace("_", "-") for stem in stems if stem != "__init__")


def load_benchmark(name: str, annotations: Path) -> Benchmark:
    """Read the annotations of a benchmark.

    Args:
        name: One of `benchmark_names()`.
        annotations: Its file or folder.

    Raises:
        UsageError: If there is no such benchmark.
        InputError: If the annotations are missing or cannot be read.
    """
    if name not in benchmark_names():
        raise UsageError(f"no benchmark {name!r}: one of {', '.join(benchmark_names())}")
    module = importlib.import_module(f".{name.replace('-', '_')}", __name__)
    return cast(_Module, module).load(annotations)
