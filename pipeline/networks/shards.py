"""Which shards networks see: all that are extracted, or those with the clips of a list."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache.schema import EXTRACT, shard_path
from ...cache.shard import read_header
from ...cache.state import extracted_shards, shard_numbers
from ...cache.store import Cache
from ...stages.neighbors.vectors import id_set, source_kind
from ..id_lists import read_ids_to_take
from ..output import note


@dataclass(frozen=True)
class WantedShards:
    """Shards that are asked for.

    Attributes:
        numbers: Which; None: all that are extracted.
        notices: What the user should know, one line each.
    """

    numbers: frozenset[int] | None = None
    notices: tuple[str, ...] = ()


def shards_of(cache: Path, ids: Path | None) -> WantedShards:
    """Find the shards that hold the clips of a list; a network does a shard whole, or not at all.

    Args:
        cache: Folder.
        ids: A list or CSV, None for every clip.

    Raises:
        InputError: It cannot be read, or none of its clips is done.
    """
    if ids is None:
        return WantedShards()
    opened = Cache(cache)
    chosen = id_set(opened, read_ids_to_take(ids), ())
    clips, everything = _clips(opened, chosen.shards), _clips(opened, extracted_shards(cache))
    notices = list(chosen.notices)
    if everything > clips:
        notices.append(
            f"--ids: teachers do whole shards: {clips} clips in {len(chosen.shards)}, the "
            f"{everything - clips} clips of other shards are not asked for"
        )
    return WantedShards(chosen.shards, tuple(notices))


def note_missing(cache: Cache, encoders: Sequence[str], shards: Collection[int] | None) -> None:
    """Say before the work which encoders have seen a part of the clips, and that the rest follows.

    Args:
        cache: Where the clips are.
        encoders: By name.
        shards: Those that hold the clips that are wanted; None: all that are extracted.
    """
    extracted = extracted_shards(cache.path)
    wanted = extracted if shards is None else extracted.intersection(shards)
    for name in encoders:
        stage = f"{source_kind(cache.path, name)}/{name}"
        have = wanted & shard_numbers(cache.path, stage)
        if have and have != wanted:
            missing = _clips(cache, wanted - have)
            note(
                f"{stage} has {_clips(cache, have)} of the {_clips(cache, wanted)} clips; the "
                f"other {missing} are embedded first (for fewer give --ids)"
            )


def _clips(cache: Cache, shards: Collection[int]) -> int:
    """Count the finished clips of shards."""
    return sum(read_header(shard_path(cache.path, EXTRACT, number)).done for number in shards)
