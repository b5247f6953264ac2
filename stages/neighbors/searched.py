"""Where the vectors of a search lie, and how it is done: in memory, in a map, or by an index."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.defaults import MIN_RECALL, PROBES, WHOLE, Part
from ...cache.schema import NEIGHBORS
from ...cache.store import Cache
from ..teachers.protocol import choices, load_teacher
from .approximate import Index, index_name, require_recall
from .cosine import NearestRows, Queries, nearest
from .room import EXACT_TYPE, ROUGH_TYPE, needs, num_lists, require_room
from .vector_map import map_path, open_map
from .vectors import IdSet, VectorSource, unit_vectors_of

STREAMED_BLOCKS = 16
"""Blocks of clips that are searched at once where the base moves to a GPU for each search."""

Search = Callable[[Iterable[Queries]], Generator[NearestRows]]


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
        index: What an approximate search looks through; None where it is exact.
        probes: How many of its lists.
        params: What a header says of the search beside k and source.
        notices: What the user should know.
    """

    cache: Cache
    chosen: IdSet
    source: VectorSource
    index: Index | None
    probes: int
    params: dict[str, Any]
    notices: list[str]

    def search(self, k: int, device: str, num_todo: int) -> tuple[Search, int]:
        """Read or map the vectors; return the search, and how many blocks it takes at once.

        Raises:
            InputError: Memory or disk do not suffice.
        """
        if (index := self.index) is not None:
            return lambda blocks: index.nearest(k, blocks, self.probes), 1
        num, digest = len(self.chosen.rows), self.chosen.digest
        path = map_path(self.cache.path, self.source, digest, EXACT_TYPE)
        wanted = needs(num, self.source.dim, k, num_todo, approximate=False)
        is_mapped = require_room(wanted, num, self.cache.path, has_map=path.exists())
        if is_mapped:
            self.notices.append(f"vectors are read from a map on disk: {path}")
            unit = open_map(self.cache, self.source, self.chosen, digest, EXACT_TYPE)
        else:
            unit = unit_vectors_of(self.cache, self.source.stage, self.chosen)
        at_once = STREAMED_BLOCKS if is_mapped and device != "cpu" else 1
        return lambda blocks: nearest(unit, len(unit), k, blocks, device=device), at_once


def require_room_for(
    encoder: str,
    cache: Path,
    chosen: IdSet,
    k: int,
    approximate: Approximate | None,
    part: Part = WHOLE,
) -> None:
    """Refuse a search that cannot fit before anything is embedded.

    Nothing is refused where some of it is done, and of a run nothing is known yet: then the search
    itself looks, once its vectors are there.

    Raises:
        InputError: See `require_room`.
    """
    begun = any(cache.glob(f"{NEIGHBORS}/*-{encoder}@{chosen.digest[:8]}"))
    if not begun and encoder in (*choices("visual"), *choices("audio")):
        num, dim = len(chosen.rows), load_teacher(encoder).COLUMNS["value"][1][0]
        wanted = needs(num, dim, k, -(-num // part[1]), approximate=approximate is not None)
        require_room(wanted, num, cache, has_map=True)


def vectors_for(
    cache: Cache,
    chosen: IdSet,
    source: VectorSource,
    k: int,
    approximate: Approximate | None,
    part: Part = WHOLE,
) -> Searched:
    """Say how vectors are searched, before any is read; an index is made and measured here.

    Raises:
        InputError: Memory or disk do not suffice for the index, or it finds too few.
    """
    if approximate is None:
        return Searched(cache, chosen, source, None, 0, {}, [])
    num, digest = len(chosen.rows), chosen.digest
    path = map_path(cache.path, source, digest, ROUGH_TYPE)
    index_path = path.with_suffix(f".{index_name(num_lists(num)).lower()}")
    if not index_path.exists():
        wanted = needs(num, source.dim, k, -(-num // part[1]), approximate=True)
        require_room(wanted, num, cache.path, has_map=path.exists())
    index = Index(index_path, open_map(cache, source, chosen, digest, ROUGH_TYPE))
    recall = index.recall(k, approximate.probes)
    require_recall(recall, approximate.min_recall, approximate.probes)
    notices = [f"approximate: {recall:.3f} of the exact neighbours are found"]
    params = {"approximate": index.name, "probes": approximate.probes, "recall": recall}
    return Searched(cache, chosen, source, index, approximate.probes, params, notices)
