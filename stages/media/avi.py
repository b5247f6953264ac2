"""Whether the index of an AVI file can be believed: FFmpeg does, and decodes what is there."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_ENTRY = struct.Struct("<4sIII")  # kind of chunk, flags, position, size
_MAX_ENTRIES = 64  # looked at, spread over the index
_MAX_INDEX_BYTES = 64 << 20


def index_is_wrong(path: str) -> bool:
    """Tell whether chunks are elsewhere than the index says; False where there is none."""
    with suppress(OSError, struct.error), Path(path).open("rb") as file:
        chunks = dict(_outermost(file))
        movie, index = chunks.get(b"movi"), chunks.get(b"idx1")
        if movie is None or index is None or index[1] > _MAX_INDEX_BYTES:
            return False
        file.seek(index[0])
        content = file.read(index[1])
        unpacked = _ENTRY.iter_unpack(content[: len(content) // _ENTRY.size * _ENTRY.size])
        entries = [entry for entry in unpacked if entry[0] != b"rec "]
        if not entries:
            return False
        some = entries[:: max(1, len(entries) // _MAX_ENTRIES)]
        # positions count from the list of chunks, from the file's start, or from the first chunk
        origins = (movie[0], 0, movie[0] + 4 - entries[0][2])
        there = (sum(_is_there(file, origin, entry) for entry in some) for origin in origins)
        return max(there) < len(some) / 2
    return False


def _outermost(file: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield name, position and size of the chunks of an AVI file; of lists where their name is."""
    end = file.seek(0, os.SEEK_END)
    position = 12
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"LIST":
            name = file.read(4)
        yield name, (position + 8, size)
        position += 8 + size + size % 2


def _is_there(file: BinaryIO, origin: int, entry: tuple[bytes, int, int, int]) -> bool:
    """Tell whether a chunk of this kind and size is where an entry of the index says."""
    kind, _, position, size = entry
    if origin + position < 0:
        return False
    file.seek(origin + position)
    return file.read(8) == struct.pack("<4sI", kind, size)
