"""What all runs of one evaluation share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from ...cache.store import Cache
from ..benchmarks import Benchmark, MapSource, Scored
from ..negatives.asked import Asked
from ..nets.geometry import Geometry
from ..tables.copies import FindCopies
from ..tables.intervals import Draws
from . import map_sources
from .protocols import Protocol
from .sweeps import Sweeps

OG_AVC_ALPHA = 0.6
"""Share of the audio-visual map in OG-AVC; a third in OG-AVC-DETR (AVC distillation, section 3)."""


@dataclass(frozen=True)
class Evaluation:
    """What all runs of one evaluation share.

    Attributes:
        name: The benchmark's.
        stem: How files of its maps and results begin: where a list says which clips, the digest of
            their ids follows the name.
        full: What is tested of the benchmark.
        test_ids: All clips of the benchmark, tested or not.
        num_official: Clips with a source in the whole benchmark.
        at_hand: What the cache has of it.
        draws: Of each run its scores over draws of the clips, where they were asked for.
        objects: Object maps by name, `object` of OGL, `detr` and `surrounded`.
        priors: Scores of what is the same for all runs; None for what cannot be had.
    """

    cache: Cache
    name: str
    stem: str
    full: Benchmark
    test_ids: frozenset[str]
    num_official: int
    at_hand: Benchmark
    protocol: Protocol
    geometry: Geometry
    branch: str | None
    head: str | None
    alphas: tuple[float, ...]
    sweeps: Sweeps
    negatives: Asked
    bootstrap: int
    find_copies: FindCopies | None
    draws: dict[str, Draws]
    device: str
    batch_size: int
    progress: Callable[[int, int], None] | None
    objects: dict[str, MapSource]
    priors: dict[str, Scored | None]

    @property
    def alpha(self) -> float:
        """Share of the audio-visual map in `blend`."""
        return self.alphas[0] if len(self.alphas) == 1 else self.protocol.alpha

    @cached_property
    def blends(self) -> dict[str, dict[str, tuple[float, MapSource]] | None]:
        """What is mixed in, by the blend's name; None for what cannot be had."""
        ogl, detr = self.objects.get("object"), self.objects.get("detr")
        found: dict[str, dict[str, tuple[float, MapSource]] | None] = {}
        if "object" in self.at_hand.priors:
            found["blend"] = ogl and {"object": (1 - self.alpha, ogl)}
            found["og_avc"] = ogl and {"object": (1 - OG_AVC_ALPHA, ogl)}
        if detr:
            found["og_avc_detr"] = ogl and {
                "object": (1 / 3, ogl),
                "detr": (1 / 3, map_sources.stretched(detr)),
            }
        if surrounded := self.objects.get("surrounded"):
            one = map_sources.stretched(surrounded)
            found["blend_surrounded"] = {"surrounded": (1 - self.alpha, one)}
        return found
