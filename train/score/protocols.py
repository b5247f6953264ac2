"""How a laboratory scores: every difference between avpipe, the papers and the peers as a field.

docs/protocol.md has the table with sources. Nothing here is computed; see `scoring` and `blends`.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as _with
from typing import Literal

from ...errors import UsageError
from ..choices import DEFAULT_GEOMETRY
from ..nets.geometry import Geometry, Kernel
from .binarize import Threshold


@dataclass(frozen=True)
class Protocol:
    """One way from similarity maps to figures.

    Attributes:
        name: What a result is stamped with.
        geometry: Where a map's cells lie.
        geometry_elsewhere: The same on all benchmarks but VGG-SS; None: no difference.
        kernel: How pixels between the cells are filled.
        scale: `cosine`: maps stay cosines. `unit`: (cosine + 1) / 2.
        object_scale: What object maps are brought to: `minmax` each to [0, 1]; `fixed` OGL's over
            2.5, also where they are scored alone.
        blend_scale: The same for the audio-visual map before it is blended; `kept`: as it is.
        blend_stretched: Whether a blend is brought to [0, 1] once more.
        alpha: Share of the audio-visual map in a blend.
        strict: A pixel is predicted above its threshold (`>`), not at it as well (`>=`).
        peak_stays: Where that leaves none, those at the map's maximum are predicted, unless the
            map is one negative value (LVS).
        predicted: Share of the pixels that the rule `median` predicts.
        headline: Rule of the figures without a suffix.
        confidence: `max` of a map, or the mean of its `top-quarter` of pixels.
        blend_confidence: `blend`: a blend's own. `av`: that of its audio-visual map, because
            what min-max brought to [0, 1] tells one picture's places apart, not pictures.
        thresholds: Of AP and max-F1: `exhaustive`, or `subsampled` as SLAVC's code does.
        f_batch: Of masks, how many videos make a test batch, whose F-measure is the best of its own
            thresholds, maps being logits (AVSBench). 0: one threshold for all, maps being brought
            to [0, 1] one by one.
        boxes: How a file whose boxes are x, y, width, height is read: `sizes`, as it is meant, or
            `corners`, as AVGN's code does.
        piap: Average precision of pixels: of the `map`, or with the arguments `swapped` (AVGN).
    """

    name: str
    geometry: Geometry = DEFAULT_GEOMETRY
    geometry_elsewhere: Geometry | None = None
    kernel: Kernel = "linear"
    scale: Literal["cosine", "unit"] = "cosine"
    object_scale: Literal["minmax", "fixed"] = "minmax"
    blend_scale: Literal["minmax", "kept"] = "minmax"
    blend_stretched: bool = False
    alpha: float = 0.4
    strict: bool = False
    peak_stays: bool = False
    predicted: float = 0.5
    headline: Threshold = Threshold.MEDIAN
    confidence: Literal["max", "top-quarter"] = "max"
    blend_confidence: Literal["blend", "av"] = "av"
    thresholds: Literal["exhaustive", "subsampled"] = "exhaustive"
    f_batch: int = 0
    boxes: Literal["sizes", "corners"] = "sizes"
    piap: Literal["map", "swapped"] = "map"

    def geometry_on(self, rule: Literal["vggss", "elsewhere"]) -> Geometry:
        """Return the geometry of a benchmark's maps, by its file's `GEOMETRY`."""
        return self.geometry_elsewhere or self.geometry if rule == "elsewhere" else self.geometry

    @property
    def without_scale(self) -> Protocol:
        """The same for maps on a scale of their own: `_fixed` cuts each in its own middle."""
        return _with(self, scale="cosine")


_SLAVC = Protocol(
    "slavc",
    geometry="corners",
    kernel="bicubic",
    scale="unit",
    object_scale="fixed",
    blend_scale="kept",
    alpha=0.9,
    confidence="top-quarter",
    blend_confidence="blend",
    thresholds="subsampled",
)
_SSL_ALIGNMENT = Protocol(
    "ssl-alignment",
    geometry="cell-centred",
    geometry_elsewhere="corners",
    blend_stretched=True,
    strict=True,
    confidence="top-quarter",
    thresholds="subsampled",
)
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("avpipe"),
        _SLAVC,
        Protocol(
            "ez-vsl",
            geometry="corners",
            blend_stretched=True,
            confidence="top-quarter",
            thresholds="subsampled",
        ),
        _SSL_ALIGNMENT,
        Protocol(
            "lvs",
            geometry="cell-centred",
            strict=True,
            peak_stays=True,
            confidence="top-quarter",
            thresholds="subsampled",
        ),
        _with(_SLAVC, name="avgn", alpha=0.4, boxes="corners", piap="swapped"),
        Protocol(
            "avsbench",
            geometry="cell-centred",
            scale="unit",
            strict=True,
            headline=Threshold.FIXED,
            f_batch=1,
        ),
    )
}
"""By name; `paper` is in `PAPERS`."""

PAPERS: dict[str, Protocol] = {
    "slavc": _with(_SLAVC, name="paper-slavc", confidence="max", thresholds="exhaustive"),
    "alignment": _with(
        _SSL_ALIGNMENT, name="paper-alignment", confidence="max", thresholds="exhaustive"
    ),
    "avc": Protocol("paper-avc", geometry="cell-centred", alpha=0.6),
}
"""What a paper states; where it is silent, what its laboratory's code does."""


def load_protocol(name: str, paper: str | None = None) -> Protocol:
    """Return a protocol.

    Args:
        name: One of `PROTOCOLS`, or `paper`.
        paper: One of `PAPERS`, with the name `paper` only.

    Raises:
        UsageError: If there is no such protocol or paper, or only one of the two is given.
    """
    if name == "paper":
        if paper in PAPERS:
            return PAPERS[paper]
        asked = "which paper?" if paper is None else f"no paper {paper!r}:"
        raise UsageError(f"--protocol paper: {asked} --paper is one of {', '.join(PAPERS)}")
    if paper is not None:
        raise UsageError(f"--paper {paper} goes with --protocol paper, not with {name}")
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol {name!r}: one of {', '.join([*PROTOCOLS, 'paper'])}")
    return PROTOCOLS[name]
