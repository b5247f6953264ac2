"""From stored similarity maps to the maps that a protocol scores, alone or with object maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..benchmarks import SIZE_PX
from ..nets.geometry import Geometry, upsample
from .protocols import Protocol

Floats32 = NDArray[np.float32]
_OGL_RANGE = 2.5
"""SLAVC divides OGL's maps by this."""


def localization_maps(
    similarity: NDArray[np.floating[Any]],
    protocol: Protocol,
    *,
    size_px: int = SIZE_PX,
    geometry: Geometry | None = None,
    centres_px: NDArray[np.float64] | None = None,
    image_px: int | None = None,
) -> Floats32:
    """Return the maps that are scored.

    Args:
        similarity: `(n, h, w)` cosines, the mean over heads, before the temperature. The peers'
            (x + 1/tau) / (2/tau) of x = cosine/tau is the protocol's `unit` scale.
        protocol: How they are filled in and scaled. Min-max belongs to blends: it moves no pixel
            over a threshold that is a rank.
        size_px: Side of the result.
        geometry: Where cells lie, if not as in the protocol.
        centres_px: For `rf-centred`, as in `geometry.upsample`.
        image_px: The same.

    Returns:
        `(n, size_px, size_px)` float32.
    """
    size = (size_px, size_px)
    where = geometry or protocol.geometry
    unit = protocol.scale == "unit"  # the same before as after, on fewer cells
    scaled = (similarity + 1) / 2 if unit else similarity
    return upsample(scaled, size, where, centres_px, image_px, protocol.kernel)


def object_maps(
    activity: NDArray[np.floating[Any]],
    protocol: Protocol,
    *,
    size_px: int = SIZE_PX,
    geometry: Geometry | None = None,
    centres_px: NDArray[np.float64] | None = None,
    image_px: int | None = None,
) -> Floats32:
    """Return object maps in image size, in their own scale.

    Args:
        activity: `(n, h, w)`, 0 or more: OGL's mean over channels, or DETR's map.
        protocol: How they are filled in.
        size_px: Side of the result.
        geometry: Where cells lie, if not as in the protocol.
        centres_px: For `rf-centred`, as in `geometry.upsample`.
        image_px: The same.

    Returns:
        `(n, size_px, size_px)` float32.
    """
    where = geometry or protocol.geometry
    return upsample(activity, (size_px, size_px), where, centres_px, image_px, protocol.kernel)


def on_scale(ogl_maps: NDArray[np.floating[Any]], protocol: Protocol) -> Floats32:
    """Bring OGL's maps `(..., H, W)` to the scale that they are scored in: SLAVC's is 0 to 2.5."""
    fixed = protocol.object_scale == "fixed"
    scaled: Floats32 = (ogl_maps / _OGL_RANGE if fixed else ogl_maps).astype(np.float32)
    return scaled


def minmax(values: NDArray[np.floating[Any]]) -> Floats32:
    """Bring each map of `(..., H, W)` to [0, 1]; a constant map becomes 0, NaN stays."""
    low = np.fmin.reduce(values, (-2, -1), keepdims=True)
    span = np.fmax.reduce(values, (-2, -1), keepdims=True) - low
    scaled: Floats32 = ((values - low) / np.where(span > 0, span, 1)).astype(np.float32)
    return scaled


def blend(
    protocol: Protocol,
    av_maps: NDArray[np.floating[Any]],
    object_maps: NDArray[np.floating[Any]],
    alpha: float | None = None,
) -> Floats32:
    """Mix maps of sound and of objects as a protocol does.

    Args:
        protocol: Its scales, and its `alpha`.
        av_maps: `(..., H, W)` of `localization_maps`.
        object_maps: The same shape, OGL's of `object_maps`.
        alpha: Share of the audio-visual maps, if not the protocol's.

    Returns:
        The same shape.
    """
    share = protocol.alpha if alpha is None else alpha
    return mix(protocol, av_maps, {"objects": (1 - share, on_scale(object_maps, protocol))})


def mix(
    protocol: Protocol,
    av_maps: NDArray[np.floating[Any]],
    others: dict[str, tuple[float, NDArray[np.floating[Any]]]],
) -> Floats32:
    """Mix audio-visual maps with several kinds of object maps.

    OG-AVC-DETR is a third of each (AVC distillation, section 3).

    Args:
        protocol: Its scales.
        av_maps: `(..., H, W)` of `localization_maps`.
        others: Share and maps by name, those of a `fixed` scale in [0, 1]; the shares' rest is that
            of the audio-visual maps.

    Returns:
        The same shape.
    """
    scaled = minmax(av_maps) if protocol.blend_scale == "minmax" else av_maps
    rest = 1 - sum(share for share, _ in others.values())
    mixed = np.float32(rest) * scaled
    for share, maps in others.values():
        mixed = mixed + np.float32(share) * (
            maps if protocol.object_scale == "fixed" else minmax(maps)
        )
    mixed = mixed.astype(np.float32)
    return minmax(mixed) if protocol.blend_stretched else mixed
