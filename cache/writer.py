"""Writing a shard: laid out by HDF5, filled with `os.pwrite`, published by a rename."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..drafts import make_folder as make_folder  # a cache's writers take all from here
from ..drafts import remove_orphans as remove_orphans
from ..drafts import sync_folder as sync_folder
from ..drafts import temporary as temporary
from .schema import HEADER_BYTES, Column, Header
from .shard import content_sha256


@dataclass(frozen=True)
class Rows:
    """Content of a column before it is written, given in pieces so that nothing is copied.

    Attributes:
        dtype: NumPy type string with byte order.
        shape: Shape of the whole column.
        pieces: Arrays that hold it in order.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[NDArray[Any], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole column."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

    @classmethod
    def array(cls, array: NDArray[Any]) -> Rows:
        """A column that is already one array."""
        array = np.ascontiguousarray(array)
        return cls(array.dtype.str, array.shape, (array,))

    @classmethod
    def stack(cls, rows: Iterable[NDArray[Any]], dtype: str, item_shape: tuple[int, ...]) -> Rows:
        """A column of equally shaped rows: `(n, *item_shape)`."""
        pieces = tuple(np.ascontiguousarray(row, dtype=dtype) for row in rows)
        if any(piece.shape != item_shape for piece in pieces):
            raise ValueError(f"rows of shape {[p.shape for p in pieces]}, expected {item_shape}")
        return cls(np.dtype(dtype).str, (len(pieces), *item_shape), pieces)

    @classmethod
    def ragged(cls, rows: Iterable[NDArray[Any]], dtype: str) -> tuple[Rows, Rows]:
        """A flat column of rows of different length, and its `n + 1` int64 offsets."""
        pieces = tuple(np.ascontiguousarray(row, dtype=dtype).ravel() for row in rows)
        offsets = np.cumsum([0, *(piece.size for piece in pieces)], dtype=np.int64)
        flat = cls(np.dtype(dtype).str, (int(offsets[-1]),), pieces)
        return flat, cls.array(offsets)


def write_shard(path: Path, header: Header, columns: Mapping[str, Rows]) -> Header:
    """Write a shard to a temporary file and rename it into place.

    The file appears under its name complete and durable, or not at all.

    Args:
        path: Final name; its folder is made if needed.
        header: Header without columns and sha256; they are filled in here.
        columns: Name to content.

    Returns:
        The header as written.

    Raises:
        CacheUnwritableError: If the disk is full or the folder cannot be written.
    """
    with temporary(path) as draft:
        placed = _make_layout(draft, columns)
        fd = os.open(draft, os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            if hasattr(os, "posix_fallocate"):  # a full disk shows here, before any column
                os.posix_fallocate(fd, 0, size)
            for name, rows in columns.items():
                if sum(piece.nbytes for piece in rows.pieces) != rows.nbytes:
                    raise ValueError(f"{path}: {name} is not as long as its shape {rows.shape}")
                _write_pieces(fd, placed[name].offset, rows.pieces)
            with ThreadPoolExecutor(1) as disk:  # takes the columns while they are hashed
                taken = disk.submit(os.fsync, fd)
                header = replace(header, columns=placed, sha256=content_sha256(fd, size))
                taken.result()
            _write_pieces(fd, 0, (np.frombuffer(header.to_block(), np.uint8),))
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(path)
    return header


def _make_layout(draft: Path, columns: Mapping[str, Rows]) -> dict[str, Column]:
    """Let HDF5 lay the file out, contiguous and unfilled, and return where each column lies."""
    import h5py
    from h5py import h5d, h5p, h5s, h5t

    try:
        with h5py.File(
            draft, "w", userblock_size=HEADER_BYTES, libver=("v110", "v110"), locking=False
        ) as file:
            plist = h5p.create(h5p.DATASET_CREATE)
            plist.set_layout(h5d.CONTIGUOUS)
            plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
            plist.set_fill_time(h5d.FILL_TIME_NEVER)
            plist.set_obj_track_times(False)
            placed = {}
            for name, rows in columns.items():
                kind = h5t.py_create(np.dtype(rows.dtype), logical=True)
                space = h5s.create_simple(rows.shape)
                dataset = h5d.create(file.id, name.encode(), kind, space, plist)
                has_bytes = dataset.get_storage_size() > 0
                offset = dataset.get_offset() if has_bytes else HEADER_BYTES
                placed[name] = Column(rows.dtype, rows.shape, offset)
    except (OSError, RuntimeError) as error:
        # libhdf5 tells a full disk only in its text; the caller needs the number.
        number = getattr(error, "errno", None)
        if number is None and "No space left" in str(error):
            number = errno.ENOSPC
        raise OSError(number or errno.EIO, os.strerror(number or errno.EIO), str(draft)) from error
    return placed


def _write_pieces(fd: int, offset: int, pieces: Iterable[NDArray[Any]]) -> None:
    for piece in pieces:
        view = piece.reshape(-1).view(np.uint8).data
        while len(view):
            written = os.pwrite(fd, view, offset)
            offset += written
            view = view[written:]
