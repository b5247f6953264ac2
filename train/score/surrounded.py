"""Where a picture has something that its border has not: an object map from cached features.

What reaches the border of a picture is mostly background (Zhu et al. 2014, boundary connectivity).
A cell's map value is 1 minus the share of what is like it that lies in the outer ring of cells. It
sees the frame and hears nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import HINTS
from ...cache.state import shard_numbers
from ...cache.store import Cache
from ..data.features import Cached
from ..nets.geometry import cell_shares
from .maps import StoredMaps

_TEMPERATURE = 0.2
"""Of the cosine of two cells; the `mean_shift` of recipe `cached`."""


def surroundedness(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return how little of what is like each cell lies at the border.

    Args:
        features: `(C, h, w)` of one frame.

    Returns:
        `(h, w)` from 0 to 1.
    """
    cells = features.reshape(len(features), -1).astype(np.float32)
    unit = cells / np.maximum(np.linalg.norm(cells, axis=0), np.finfo(np.float32).tiny)
    alike = np.exp((unit.T @ unit - 1) / np.float32(_TEMPERATURE))
    border = np.ones(features.shape[1:], bool)
    border[1:-1, 1:-1] = False
    shares: NDArray[np.float32] = 1 - alike[:, border.ravel()].sum(1) / alike.sum(1)
    return shares.reshape(features.shape[1:])


def surrounded_maps(
    cache: Cache, videos: Sequence[str], features: Cached | None
) -> StoredMaps | None:
    """Return the maps of frames, from the features that a run learnt from.

    Args:
        cache: The clips.
        videos: Their ids.
        features: What the run has of images; None: it has none, and there are no maps.

    Returns:
        None also where a frame has no such features.
    """
    if features is None or not shard_numbers(cache.path, f"{HINTS}/{features.teacher}"):
        return None
    column = cache.column(f"{HINTS}/{features.teacher}")
    rows = [cache.row_of(name) for name in videos]
    if not all(row in column for row in rows):
        return None
    maps = np.stack([surroundedness(column[row]) for row in rows])
    centres = cell_shares(features.cells, maps.shape[1], features.image_px) * features.image_px
    index: dict[Hashable, int] = {name: number for number, name in enumerate(videos)}
    return StoredMaps(index, maps, centres - 0.5, features.image_px, reused=True)
