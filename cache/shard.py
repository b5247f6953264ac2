"""Reading a shard: a write-once HDF5 file, mapped into memory; libhdf5 is never opened."""

from __future__ import annotations

import hashlib
import mmap
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .schema import HEADER_BYTES, Header, damaged, opened, parse_block

_HASH_BLOCK = 1 << 20


def content_sha256(fd: int, size: int) -> str:
    """Return the sha256 of everything behind the user block of an open shard of `size` bytes."""
    state = hashlib.sha256()
    buffer = memoryview(bytearray(_HASH_BLOCK))
    position = HEADER_BYTES
    while position < size:
        count = os.preadv(fd, [buffer[: size - position]], position)
        if count == 0:
            break
        state.update(buffer[:count])
        position += count
    return state.hexdigest()


def read_header(path: Path) -> Header:
    """Read and check a shard's 4 KiB header, and nothing else of the file.

    Raises:
        CacheCorruptError: If the header is damaged.
        FileNotFoundError: If there is no such shard.
    """
    with opened(path) as file:
        fd = file.fileno()
        return parse_block(_block(fd), path, os.fstat(fd).st_size)


def _block(fd: int) -> bytes:
    """Read the user block; a system may give less than it was asked for."""
    block = b""
    while more := os.pread(fd, HEADER_BYTES - len(block), len(block)):
        block += more
    return block


def check_content(path: Path, fd: int, header: Header) -> None:
    """Read all of an open shard and compare it with its header's sha256.

    It is read with `os.pread`, so that a sector that cannot be read is an error here and no signal
    later.

    Raises:
        CacheCorruptError: If it differs.
        OSError: If it cannot be read.
    """
    if content_sha256(fd, os.fstat(fd).st_size) != header.sha256:
        raise damaged(path, ": content does not match its sha256")


_verified: set[tuple[int, int, int, int]] = set()
"""Shards whose sha256 this process has checked: (device, inode, size, mtime)."""


class Shard:
    """An open shard; its arrays are read-only views of the file, and stay valid when it is closed.

    There is no HDF5 handle and no file position, so threads and forked processes may share it.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        """Open a shard; the first time in a process its sha256 is checked too.

        Raises:
            CacheCorruptError: If header or content is damaged.
            FileNotFoundError: If there is no such shard.
        """
        self.path = path
        with opened(path) as file:
            fd = file.fileno()
            state = os.fstat(fd)
            self.header = parse_block(_block(fd), path, state.st_size)
            key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            if verify and key not in _verified:
                check_content(path, fd, self.header)
                _verified.add(key)
            self._map = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        self._columns: dict[str, NDArray[Any]] = {}

    def __contains__(self, column: str) -> bool:
        """Whether the shard has a column of that name."""
        return column in self.header.columns

    @property
    def rows(self) -> NDArray[np.int64]:
        """Cache rows this shard holds, ascending, `(done,)`."""
        return self.column("row")

    @cached_property
    def position(self) -> dict[int, int]:
        """Where each of its rows stands in its columns."""
        return {row: index for index, row in enumerate(self.rows.tolist())}

    def column(self, name: str) -> NDArray[Any]:
        """Return a whole column.

        Raises:
            KeyError: If the shard has none of that name.
        """
        array = self._columns.get(name)
        if array is None:
            array = self._columns[name] = self._view(name)
        return array

    def item(self, name: str, index: int) -> NDArray[Any]:
        """Return element `index` of a column's first axis, `shape[1:]`.

        Raises:
            IndexError: If there is no such element (negative ones do not count from the end).
        """
        column = self.column(name)
        if not 0 <= index < len(column):
            raise IndexError(f"{self.path}: {name}[{index}] of {len(column)}")
        element: NDArray[Any] = column[index]
        return element

    def span(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return elements `start:stop` of a flat column.

        Raises:
            IndexError: If the column does not reach that far.
        """
        column = self.column(name)
        if not 0 <= start <= stop <= len(column):
            raise IndexError(f"{self.path}: {name}[{start}:{stop}] of {len(column)}")
        return column[start:stop]

    def _view(self, name: str) -> NDArray[Any]:
        column = self.header.columns.get(name)
        if column is None:
            have = ", ".join(self.header.columns)
            raise KeyError(f"{self.path} has no column {name!r} (it has {have})")
        count = column.nbytes // np.dtype(column.dtype).itemsize
        flat = np.frombuffer(self._map, column.dtype, count, column.offset)
        return flat.reshape(column.shape)
