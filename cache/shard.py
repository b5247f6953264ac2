"""One shard: a write-once HDF5 file that is read with `os.pread` alone."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CacheCorruptError, CacheUnwritableError
from .schema import HEADER_BYTES, Column, Header, parse_block

_HASH_BLOCK = 1 << 20


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
                _write_pieces(fd, placed[name].offset, rows.pieces)
            header = replace(header, columns=placed, sha256=_sha256(fd, size))
            _write_pieces(fd, 0, (np.frombuffer(header.to_block(), np.uint8),))
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(path)
    return header


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` that tells who writes it; remove it afterwards.

    Everything that writes into a cache does so in here.

    Raises:
        CacheUnwritableError: For any `OSError` of the writes: a full disk, a read-only folder.
    """
    owner = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    draft = path.with_name(f".{path.name}.{owner}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        sync_folder(path.parent)
    except OSError as error:
        raise CacheUnwritableError(
            f"{path}: {error.strerror or error}; nothing is lost: make the cache writable or free "
            "some space, then run the same command again"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def remove_orphans(folder: Path) -> None:
    """Remove temporary files of processes of this machine that are gone."""
    host = socket.gethostname()
    for draft in folder.glob(f".*.{host}.*.*"):
        pid = draft.name.split(".")[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            draft.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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


def _sha256(fd: int, size: int) -> str:
    """Hash everything behind the user block."""
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
        if _sha256(self._fd, os.fstat(self._fd).st_size) != self.header.sha256:
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
