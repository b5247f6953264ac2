"""Where the vectors of a search lie, and how it is done: in memory, in a map, or by an index."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.defaults import MIN_RECALL, PROBES, WHOLE, Part
from ...cache.store import Cache
from ..teachers.protocol import choices, load_teacher
from .approximate import Index, index_name, require_recall
from .cosine import NearestRows, nearest
from .room import EXACT_TYPE, ROUGH_TYPE, needs, num_lists, require_room
from .vector_map import map_path, open_map
from .vectors import IdSet, VectorSource, unit_vectors_of

STREAMED_BLOCKS = 16
"""Blocks of clips that are searched at once where the base moves to a GPU for each search."""

Search = Callable[[Iterable[NDArray[np.int64]]], Generator[NearestRows]]


@dataclass(frozen=True)
class Approximate:
    """How an approximate search is wanted.

    Attributes:
        probes: Lists to look through.
        min_recall: The share of exact neighbours that it has to find.
    """

    probes: int = PROBES
    min_recall: float = MIN_RECALL


@dataclass
class Searched:
    """The vectors of an id set before they are read.

    Attributes:
        cache: The cache.
        chosen: The clips.
        source: Where their vectors come from.
        digest: Of their ids.
        is_mapped: They do not fit in memory.
        index: What an approximate search looks through; None where it is exact.
        params: What a header says of the search beside k and source.
        notices: What the user should know.
    """

    cache: Cache
    chosen: IdSet
    source: VectorSource
    digest: str
    is_mapped: bool
    index: Index | None
    probes: int
    params: dict[str, Any]
    notices: list[str]

    def blocks_at_once(self, device: str) -> int:
        """Return how many blocks of clips are searched at once."""
        return STREAMED_BLOCKS if self.is_mapped and device != "cpu" else 1

    def search(self, k: int, device: str) -> Search:
        """Read or map the vectors and return the search."""
        if (index := self.index) is not None:
            return lambda blocks: index.nearest(k, blocks, self.probes)
        if self.is_mapped:
            unit = open_map(self.cache, self.source, self.chosen, self.digest, EXACT_TYPE)
        else:
            unit = unit_vectors_of(self.cache, self.source.stage, self.chosen)
        return lambda blocks: nearest(unit, len(unit), k, blocks, device=device)


def require_room_for(
    encoder: str,
    cache: Path,
    num_clips: int,
    k: int,
    approximate: Approximate | None,
    part: Part = WHOLE,
) -> None:
    """Refuse a search that cannot fit before anything is embedded; of a run nothing is known yet.

    Raises:
        InputError: See `require_room`.
    """
    if encoder in (*choices("visual"), *choices("audio")):
        dim = load_teacher(encoder).COLUMNS["value"][1][0]
        num_todo = -(-num_clips // part[1])
        wanted = needs(num_clips, dim, k, num_todo, approximate=approximate is not None)
        require_room(wanted, num_clips, cache, has_map=True)


def vectors_for(
    cache: Cache,
    chosen: IdSet,
    source: VectorSource,
    k: int,
    approximate: Approximate | None,
    part: Part = WHOLE,
) -> Searched:
    """Decide where vectors lie, before any is read; an index is made and measured here.

    Raises:
        InputError: Memory or disk do not suffice, or the index finds too few.
    """
    num, digest = len(chosen.rows), chosen.digest
    num_todo = -(-num // part[1])
    wanted = needs(num, source.dim, k, num_todo, approximate=approximate is not None)
    path = map_path(cache.path, source, digest, ROUGH_TYPE if approximate else EXACT_TYPE)
    is_mapped = require_room(wanted, num, cache.path, has_map=path.exists())
    notices = []
    if is_mapped:
        notices.append(f"vectors are read from a map on disk: {path}")
    if approximate is None:
        return Searched(cache, chosen, source, digest, is_mapped, None, 0, {}, notices)
    vectors = open_map(cache, source, chosen, digest, ROUGH_TYPE)
    index = Index(path.with_suffix(f".{index_name(num_lists(num)).lower()}"), vectors)
    recall = index.recall(k, approximate.probes)
    require_recall(recall, approximate.min_recall, approximate.probes)
    notices.append(f"approximate: {recall:.3f} of the exact neighbours are found")
    params = {"approximate": index.name, "probes": approximate.probes, "recall": recall}
    return Searched(cache, chosen, source, digest, True, index, approximate.probes, params, notices)
