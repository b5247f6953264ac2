"""Reading a shard: a write-once HDF5 file that needs `os.pread` alone."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CacheCorruptError
from .schema import HEADER_BYTES, Column, Header, parse_block

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
    fd = os.open(path, os.O_RDONLY)
    try:
        return parse_block(os.pread(fd, HEADER_BYTES, 0), path, os.fstat(fd).st_size)
    finally:
        os.close(fd)


_verified: set[tuple[int, int, int, int]] = set()
"""Shards whose sha256 this process has checked: (device, inode, size, mtime)."""


class Shard:
    """An open shard.

    Reading is thread- and fork-safe: `os.pread` has no file position and there is no HDF5 handle.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        """Open a shard; the first time in a process its sha256 is checked too.

        Raises:
            CacheCorruptError: If header or content is damaged.
            FileNotFoundError: If there is no such shard.
        """
        self.path = path
        self._fd = -1  # so that __del__ works when the next line raises
        self._fd = os.open(path, os.O_RDONLY)
        self._lock = threading.Lock()
        self._small: dict[str, NDArray[Any]] = {}
        state = os.fstat(self._fd)
        self.header = parse_block(os.pread(self._fd, HEADER_BYTES, 0), path, state.st_size)
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        if verify and key not in _verified:
            self.check_content()
            _verified.add(key)

    def __del__(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def check_content(self) -> None:
        """Check the sha256 of everything behind the header.

        Raises:
            CacheCorruptError: If it does not match.
        """
        if content_sha256(self._fd, os.fstat(self._fd).st_size) != self.header.sha256:
            raise CacheCorruptError(
                f"{self.path}: content does not match its sha256; run `avpipe verify --repair`"
            )

    def __contains__(self, column: str) -> bool:
        """Whether the shard has a column of that name."""
        return column in self.header.columns

    @property
    def rows(self) -> NDArray[np.int64]:
        """Cache rows this shard holds, ascending, `(done,)`."""
        return self.column("row")

    def column(self, name: str) -> NDArray[Any]:
        """Return a whole column; small index columns are kept."""
        with self._lock:
            if name in self._small:
                return self._small[name]
        column = self._column(name)
        array = self._read(column.offset, column.nbytes).view(column.dtype).reshape(column.shape)
        if column.nbytes <= 1 << 16:
            array.flags.writeable = False
            with self._lock:
                self._small[name] = array
        return array

    def item(self, name: str, index: int) -> NDArray[Any]:
        """Return element `index` of a column's first axis, `shape[1:]`."""
        column = self._column(name)
        if not 0 <= index < column.shape[0]:
            raise IndexError(f"{self.path}: {name}[{index}] of {column.shape[0]}")
        item = column.nbytes // column.shape[0]
        data = self._read(column.offset + index * item, item)
        return data.view(column.dtype).reshape(column.shape[1:])

    def span(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return elements `start:stop` of a flat column."""
        column = self._column(name)
        if not 0 <= start <= stop <= column.shape[0]:
            raise IndexError(f"{self.path}: {name}[{start}:{stop}] of {column.shape[0]}")
        size = np.dtype(column.dtype).itemsize
        data = self._read(column.offset + start * size, (stop - start) * size)
        return data.view(column.dtype)

    def _column(self, name: str) -> Column:
        try:
            return self.header.columns[name]
        except KeyError:
            have = ", ".join(self.header.columns)
            raise KeyError(f"{self.path} has no column {name!r} (it has {have})") from None

    def _read(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        out = np.empty(nbytes, np.uint8)
        view = out.data
        while len(view):
            count = os.preadv(self._fd, [view], offset)
            if count == 0:
                raise CacheCorruptError(f"{self.path}: ends early; run `avpipe verify --repair`")
            offset += count
            view = view[count:]
        return out
