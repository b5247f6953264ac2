"""Where the maps that are scored come from: a run, what needs no sound, and blends of both."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

import numpy as np

from ...cache.state import shard_numbers
from ...cache.store import Cache
from ..benchmarks import MapSource, Pair
from ..metrics import Maps
from ..nets.geometry import DETR_PX, Geometry, detr_centres_px
from .blends import localization_maps, minmax, mix, object_maps, on_scale
from .controls import Floats32, Frame
from .maps import StoredMaps
from .protocols import Protocol

DETR = "objects/detr-r50"
_FRAMES_KEPT = 2048


def of_run(stored: StoredMaps, protocol: Protocol, geometry: Geometry) -> MapSource:
    """Return a run's localization maps."""
    return lambda pairs: localization_maps(
        stored.cells(pairs),
        protocol,
        geometry=geometry,
        centres_px=stored.centres_px,
        image_px=stored.image_px,
    )


def of_objects(stored: StoredMaps, protocol: Protocol, geometry: Geometry) -> MapSource:
    """Return the object maps of the pairs' frames."""
    return lambda pairs: object_maps(
        stored.cells([pair.video for pair in pairs]),
        protocol,
        geometry=geometry,
        centres_px=stored.centres_px,
        image_px=stored.image_px,
    )


def of_ogl(stored: StoredMaps, protocol: Protocol, geometry: Geometry) -> MapSource:
    """Return OGL's object maps of the pairs' frames, on the protocol's scale."""
    source = of_objects(stored, protocol, geometry)
    return lambda pairs: on_scale(source(pairs), protocol)


def stretched(source: MapSource) -> MapSource:
    """Return the same maps, each brought to [0, 1]."""
    return lambda pairs: minmax(source(pairs))


def detr_maps(cache: Cache, videos: Sequence[str]) -> StoredMaps | None:
    """Read what `embed-teachers --objects` stored of frames; None where a frame has nothing."""
    if not shard_numbers(cache.path, DETR):
        return None
    column = cache.column(DETR)
    rows = [cache.row_of(name) for name in videos]
    if not all(row in column for row in rows):
        return None
    maps = np.stack([np.asarray(column[row], np.float32) for row in rows])
    index: dict[Hashable, int] = {name: number for number, name in enumerate(videos)}
    return StoredMaps(index, maps, detr_centres_px(maps.shape[1]), DETR_PX, reused=True)


def constant(one_map: Floats32) -> MapSource:
    """Return the same map for every pair."""
    return lambda pairs: np.broadcast_to(one_map, (len(pairs), *one_map.shape))


def of_frames(cache: Cache, draw: Callable[[Frame], Floats32]) -> MapSource:
    """Return maps that see the frame and hear nothing; one is kept for a frame's other sounds."""

    @lru_cache(_FRAMES_KEPT)
    def drawn(video: str) -> Floats32:
        return draw(cache.clip(video).frame)

    def source(pairs: Sequence[Pair]) -> Maps:
        return np.stack([drawn(pair.video) for pair in pairs])

    return source


def blended(
    protocol: Protocol, av: MapSource, others: dict[str, tuple[float, MapSource]]
) -> MapSource:
    """Return blends of a run's maps with others, as the protocol scales them.

    Args:
        protocol: Its scales.
        av: The run's maps.
        others: Share and maps by name; the rest is the run's share.
    """
    return lambda pairs: mix(
        protocol, av(pairs), {name: (share, maps(pairs)) for name, (share, maps) in others.items()}
    )
