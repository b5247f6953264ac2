"""Benchmarks: one file each; the file name is the name `evaluate --benchmark` takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ..score import protocols
from ..score.binarize import Bools, Floats, Maps
from ..truths.forms import Form

SIZE_PX = 224
"""Side of the maps that are scored, as in every protocol of the family."""

_AND = "/"
"""Between the clips of a mixture; no id holds it."""


class Pair(NamedTuple):
    """The frame of one clip and the sound of one, the same or another: what a map is made of.

    The sound may be a mixture, the sum of two clips' sounds: its name is that of `mixture`.
    """

    video: str
    audio: str

    @property
    def sounds(self) -> tuple[str, ...]:
        """Ids of the clips that are heard: one, or the two of a mixture."""
        return tuple(self.audio.split(_AND))

    @property
    def clips(self) -> tuple[str, ...]:
        """Ids of all clips it is made of."""
        return (self.video, *self.sounds)


def mixture(first: str, second: str) -> str:
    """Return the name of the sum of two clips' sounds, as `Pair.audio`."""
    return f"{first}{_AND}{second}"


MapSource = Callable[[Sequence[Pair]], Maps]
"""What a benchmark reads, of pairs: maps `(n, 224, 224)` of a run or of a prior, or embeddings."""

Scores = dict[str, float]
Subsets = dict[str, Scores]
Sample = dict[str, str | float]
Prior = Literal["center", "saliency", "object"]


class Truth(NamedTuple):
    """What is known of a pair's frame, to be drawn.

    Attributes:
        sounding: `(k, 4)` boxes of what sounds, shares of the sides.
        silent: `(k, 4)` boxes of what does not.
        mask: `(H, W)` pixels of what sounds, where masks are known.
    """

    sounding: Floats
    silent: Floats
    mask: Bools | None = None


class Sources(NamedTuple):
    """The pairs of a test whose sound's source is in the picture, and what else it knows of sounds.

    Attributes:
        pairs: The pairs.
        classes: What the frame of each shows; empty where no class is known.
        sounds: Classes of each sound whose source is in its own picture; empty if not known.
        truths: Draws the truths `(m, 224, 224)` of a part of the pairs.
        own: Pairs whose sound is of nothing in the picture.
    """

    pairs: Sequence[Pair]
    classes: Sequence[frozenset[str]]
    sounds: Mapping[str, frozenset[str]]
    truths: Callable[[slice], NDArray[Any]]
    own: Sequence[Pair]


@runtime_checkable
class WithSources(Protocol):
    """A benchmark that can be tested with any sounds of nothing in the picture."""

    def sources(self) -> Sources:
        """Return what sounds in which picture."""


class Scored(Protocol):
    """What a benchmark says about one source of maps."""

    @property
    def scores(self) -> Subsets:
        """Scores of each subset by name; NaN where a subset has nothing to score."""

    def headline(self, without: AbstractSet[str] = frozenset()) -> tuple[int, Scores]:
        """Return how many clips count without those, and their scores: the first subset's."""

    @property
    def confidence(self) -> Floats:
        """`(pairs,)` how sure each map is that there is a source."""

    @property
    def samples(self) -> list[Sample]:
        """One record per pair, for the csv."""

    @property
    def curves(self) -> dict[str, list[float]]:
        """Curves behind the headline's scores; empty where there are none."""


@runtime_checkable
class Resampled(Protocol):
    """Scores that can be given again of rows drawn with replacement."""

    @property
    def clips(self) -> Sequence[str]:
        """The clip of each row, whose frame it is."""

    def drawn(self, rows: NDArray[np.int64]) -> Scores:
        """Return the headline's scores of some rows, each as often as it is named."""


class Benchmark(Protocol):
    """What `load` of a file of this folder returns."""

    @property
    def reads(self) -> Literal["maps", "embeddings"]:
        """What it scores."""

    @property
    def priors(self) -> Sequence[Prior]:
        """What is scored beside a run."""

    @property
    def clip_ids(self) -> Sequence[str]:
        """Ids of all clips it needs."""

    @property
    def notices(self) -> Sequence[str]:
        """Lines about annotations that are broken or incomplete."""

    @property
    def left_out(self) -> Sequence[str]:
        """Clips that the annotations list and know nothing true of; they are not tested."""

    @property
    def num_official(self) -> int:
        """Clips with a source in the picture, those that cannot be scored included."""

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many pairs of each kind every subset holds; the first subset is the headline."""

    @property
    def ceiling(self) -> float:
        """Largest LocAcc that a prediction of half the picture can reach; NaN without maps."""

    def truth(self, pair: Pair, positive: bool) -> Truth:
        """Return what to draw on a pair's frame; `positive`: its sound's source is in it."""

    def only(self, have: AbstractSet[str]) -> Benchmark:
        """Leave out what needs other clips than these."""

    def pairs(self) -> list[Pair]:
        """All pairs that it reads a source at, those of its controls included; each once."""

    def score(
        self,
        source: MapSource,
        protocol: protocols.Protocol = ...,
        confidence: Floats | None = None,
    ) -> Scored:
        """Score a source of maps.

        Args:
            source: The maps.
            protocol: How.
            confidence: `(pairs,)` instead of the maps' own.
        """

    def controls(self, source: MapSource, protocol: protocols.Protocol) -> dict[str, Subsets]:
        """Score what tells whether a source listens at all, by name."""


class Module(Protocol):
    """What a file of this folder defines.

    Where a protocol reads the annotations otherwise than they are meant, it also has
    `load_by(annotations, rules)`.

    Attributes:
        FORM: How its scores are shown.
        GEOMETRY: Whose geometry its maps have where a protocol places those of VGG-SS otherwise.
    """

    FORM: Form
    GEOMETRY: Literal["vggss", "elsewhere"]

    def load(self, annotations: Path) -> Benchmark:
        """Read a benchmark's annotations."""


def benchmark_names() -> list[str]:
    """Return the benchmarks there are, from their file names."""
    stems = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(stem.replace("_", "-") for stem in stems if stem != "__init__")


def require_benchmark(name: str) -> None:
    """See that there is a benchmark of that name.

    Raises:
        UsageError: If there is none.
    """
    if name not in benchmark_names():
        raise UsageError(f"no benchmark {name!r}: one of {', '.join(benchmark_names())}")


def load_benchmark(
    name: str, annotations: Path, rules: protocols.Protocol | None = None
) -> Benchmark:
    """Read the annotations of a benchmark.

    Args:
        name: One of `benchmark_names()`.
        annotations: Its file or folder.
        rules: The protocol, where a peer's may read them otherwise; None: as they are meant.

    Raises:
        UsageError: If there is no such benchmark.
        InputError: If the annotations are missing or cannot be read.
    """
    module = module_of(name)
    load_by = getattr(module, "load_by", None)
    if rules is None or load_by is None:
        return module.load(annotations)
    return cast(Benchmark, load_by(annotations, rules))


def module_of(name: str) -> Module:
    """Import the file of a benchmark.

    Raises:
        UsageError: If there is none of that name.
    """
    require_benchmark(name)
    return cast(Module, importlib.import_module(f".{name.replace('-', '_')}", __name__))
