"""Vectors in a file that is mapped into memory: made once, read by every part of a search."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.store import Cache
from ...cache.writer import remove_orphans, temporary
from .vectors import IdSet, VectorSource, unit_vectors_by_shard

FOLDER = "vectors"
"""In the cache; what lies there can be made again, and may be removed while nothing runs."""
_SUM_BYTES = hashlib.sha256().digest_size
_READ_BYTES = 1 << 20


def map_path(cache: Path, source: VectorSource, ids_digest: str, dtype: str) -> Path:
    """Return where the unit vectors of an id set lie; other vectors have another name."""
    encoder = source.stage.rpartition("/")[2]
    name = f"{encoder}@{ids_digest[:8]}-{source.digest[:8]}.{dtype.lstrip('<')}"
    return cache / FOLDER / name


def open_map(
    cache: Cache, source: VectorSource, chosen: IdSet, ids_digest: str, dtype: str
) -> NDArray[np.floating]:
    """Map the set's unit vectors, `(N, d)`, and make the file first if it is not there.

    One that is damaged, or that an older version wrote without a sum, is made again.

    Raises:
        InputError: A shard lacks a clip, or a vector holds NaN or infinity.
        CacheUnwritableError: The disk is full or cannot be written.
    """
    path = map_path(cache.path, source, ids_digest, dtype)
    shape = len(chosen.rows), source.dim
    size = np.dtype(dtype).itemsize * shape[0] * shape[1] + _SUM_BYTES
    if not path.exists() or path.stat().st_size != size or not is_sealed(path):
        remove_orphans(path.parent)
        _remove_older(path)
        with temporary(path) as draft:
            # written as a file: a full disk is an error there, and a crash in a map
            with draft.open("wb") as file:
                for _, unit in unit_vectors_by_shard(cache, source.stage, chosen):
                    file.write(unit.astype(dtype).data)
            seal(draft)
            draft.replace(path)
    mapped: NDArray[np.floating] = np.memmap(path, dtype, "r", shape=shape)
    return mapped


def seal(path: Path) -> None:
    """Add to a file the sha256 of what is in it, and wait until it is on disk."""
    with path.open("r+b") as file:
        total = hashlib.file_digest(file, "sha256").digest()
        file.seek(0, os.SEEK_END)
        file.write(total)
        file.flush()
        os.fsync(file.fileno())


def is_sealed(path: Path) -> bool:
    """Whether a file is there and ends with the sha256 of all before: what `seal` left."""
    if not path.is_file():
        return False
    state = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - _SUM_BYTES
        while left > 0 and (chunk := file.read(min(left, _READ_BYTES))):
            state.update(chunk)
            left -= len(chunk)
        return file.read() == state.digest()


def _remove_older(path: Path) -> None:
    """Remove maps and indexes of vectors that the encoder and set had before."""
    of_set = f"{path.name.rpartition('-')[0]}-"
    for older in path.parent.iterdir() if path.parent.exists() else ():
        if older.name.startswith(of_set) and not older.name.startswith(f"{path.stem}."):
            older.unlink(missing_ok=True)
