"""What a search needs, beside what is there: refused before anything is loaded.

Vectors lie in memory where they fit, else in a file that is mapped; neighbours go to the disk.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...machine import free_memory_bytes

EXACT_TYPE, ROUGH_TYPE = "<f4", "<f2"
"""Of the numbers in memory, and in the map of an exact search; in that of an approximate one."""
BYTES_PER_NEIGHBOR = 6
"""A row as int32, a cosine as float16."""
BESIDE_BYTES = 1 << 29
"""Left free beside the vectors: the interpreter, FAISS, and blocks of 256 searches."""
_LIST_BYTES = 8
"""Of a clip in an index, beside one byte a number: its row."""


@dataclass(frozen=True)
class Room:
    """Bytes of one search.

    Attributes:
        vectors: Of all vectors in float32.
        map: Of the file that is mapped where memory does not hold them.
        index: Of an approximate search's index, in memory; 0 without.
        neighbors: Of what is written.
    """

    vectors: int
    map: int
    index: int
    neighbors: int


def needs(num_clips: int, dim: int, k: int, num_todo: int, *, approximate: bool) -> Room:
    """Compute what a search takes.

    Args:
        num_clips: Clips among which neighbours are searched.
        dim: Numbers of a vector.
        k: Neighbours of each.
        num_todo: Clips whose neighbours are searched now.
        approximate: With an index of one byte a number, and a map in float16.
    """
    index = num_clips * (dim + _LIST_BYTES) + num_lists(num_clips) * dim * 4 if approximate else 0
    return Room(
        vectors=num_clips * dim * 4,
        map=num_clips * dim * (2 if approximate else 4),
        index=index,
        neighbors=num_todo * k * BYTES_PER_NEIGHBOR,
    )


def num_lists(num_clips: int) -> int:
    """Return in how many lists an index divides clips: the power of two nearest 2 * sqrt(N).

    There are no more than clips.
    """
    wanted = max(1, math.isqrt(4 * num_clips))
    lower = 1 << (wanted.bit_length() - 1)
    lists = lower if wanted < 1.5 * lower else 2 * lower
    return lists if lists <= max(1, num_clips) else lists // 2


def require_room(
    wanted: Room,
    num_clips: int,
    folder: Path,
    *,
    has_map: bool = False,
    memory_bytes: int | None = None,
    disk_bytes: int | None = None,
) -> bool:
    """Say whether vectors have to be mapped, and refuse a search that does not fit even so.

    Args:
        wanted: What it takes.
        num_clips: Clips among which neighbours are searched, for the message.
        folder: The cache.
        has_map: The map is there already.
        memory_bytes: Free memory; None: as it is.
        disk_bytes: Free bytes of the cache's disk; None: as it is.

    Raises:
        InputError: Memory or disk do not suffice; with the bytes and the ways out.
    """
    memory = free_memory_bytes() if memory_bytes is None else memory_bytes
    disk = shutil.disk_usage(_there(folder)).free if disk_bytes is None else disk_bytes
    approximate = wanted.index > 0
    is_mapped = approximate or wanted.vectors + BESIDE_BYTES > memory
    to_write = {f"{_gb(wanted.neighbors)} of neighbours": wanted.neighbors}
    if is_mapped and not has_map:
        to_write[f"{_gb(wanted.map)} of vectors to map"] = wanted.map
    short = []
    if sum(to_write.values()) > disk:
        short.append(f"{' and '.join(to_write)}, {folder} has {_gb(disk)} left")
        if is_mapped and not approximate:
            short.append(f"vectors of {_gb(wanted.vectors)} in memory, {_gb(memory)} are free")
    if approximate and wanted.index + BESIDE_BYTES > memory:
        short.append(f"an index of {_gb(wanted.index)} in memory, {_gb(memory)} are free")
    if short:
        ways = "divide them with --part I/N, choose clips with --ids, or take a smaller --k"
        ways += "" if approximate else " or --approximate"
        raise InputError(
            f"neighbours of {num_clips:,} clips do not fit: {'; '.join(short)}: {ways}"
        )
    return is_mapped


def require_cluster_room(
    num_vectors: int, dim: int, *, sampled: bool, memory_bytes: int | None = None
) -> None:
    """Refuse to cluster more vectors than memory holds.

    Raises:
        InputError: With the bytes and the ways out.
    """
    memory = free_memory_bytes() if memory_bytes is None else memory_bytes
    wanted = num_vectors * dim * 4
    if wanted + BESIDE_BYTES > memory:
        most = max(0, memory - BESIDE_BYTES) // (dim * 4)
        raise InputError(
            f"vectors of {num_vectors:,} clips take {_gb(wanted)}, {_gb(memory)} of memory are "
            f"free: find the clusters on {'fewer' if sampled else 'a sample'} with --sample "
            f"{most // 2}, or choose clips with --ids"
        )


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"


def _there(folder: Path) -> Path:
    """Return a folder, or the nearest one above that exists."""
    return next(one for one in (folder, *folder.absolute().parents) if one.exists())
