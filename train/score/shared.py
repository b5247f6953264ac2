"""What all runs of one evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...cache.store import Cache
from ...errors import MissingDependencyError
from ...weights import weights_dir
from ..benchmarks import Benchmark, MapSource, Scored
from ..data.features import Cached
from ..negatives.asked import Asked
from ..nets.encoders import IMAGENET, IMAGENET_NETWORK
from ..nets.geometry import Geometry
from ..tables.copies import FindCopies
from ..tables.intervals import Draws
from . import map_sources
from .controls import center_prior, saliency
from .maps import StoredMaps, stored_object_maps
from .object_prior import ObjectPrior
from .protocols import Protocol
from .surrounded import surrounded_maps
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


def add_priors(shared: Evaluation, first_run: Path, seen: Cached | None) -> list[str]:
    """Score what is the same for all runs; return lines about what cannot be had.

    `seen`: the features of images that the first run to have some learnt from.
    """
    wanted: Sequence[str] = shared.at_hand.priors
    notices: list[str] = []
    sources: dict[str, MapSource | None] = {}
    if "saliency" in wanted:
        sources["saliency"] = map_sources.of_frames(shared.cache, saliency)
    if "center" in wanted:
        sources["center"] = map_sources.constant(center_prior())
    if "object" in wanted:
        maps, notices = _object_maps(shared, first_run, seen)
        for name, stored in maps.items():
            make = map_sources.of_ogl if name == "object" else map_sources.of_objects
            shared.objects[name] = make(stored, shared.protocol, shared.geometry)
        sources |= {"object": None, **shared.objects}
    for name, source in sources.items():
        rules = shared.protocol if name == "object" else shared.protocol.without_scale
        shared.priors[name] = source and shared.at_hand.score(source, rules)
    return notices


def _object_maps(
    shared: Evaluation, first_run: Path, seen: Cached | None
) -> tuple[dict[str, StoredMaps], list[str]]:
    """Return the object maps that can be had, and a line that says why OGL cannot."""
    found, notices = {}, []
    videos = sorted({pair.video for pair in shared.at_hand.pairs()})
    try:
        found["object"] = stored_object_maps(
            first_run,
            shared.stem,
            videos,
            shared.cache,
            ObjectPrior(device=shared.device),
            batch_size=shared.batch_size,
            progress=shared.progress,
        )
    except MissingDependencyError as error:
        fetch = f"`avpipe weights fetch {IMAGENET_NETWORK}` fetches it"
        line = f"object (OGL) and blend are null: no ImageNet ResNet18 in {weights_dir()}; {fetch}"
        if (weights_dir() / IMAGENET.name).exists():
            line = f"object (OGL) and blend are null: {error}; once it is removed {fetch}"
        notices.append(line)
    if detr := map_sources.detr_maps(shared.cache, videos):
        found["detr"] = detr
    if surrounded := surrounded_maps(shared.cache, videos, seen):
        found["surrounded"] = surrounded
    return found, notices
