"""Vectors in a file that is mapped into memory: made once, read by every part of a search."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.store import Cache
from ...cache.writer import remove_orphans, temporary
from .vectors import IdSet, VectorSource, unit_vectors_by_shard

FOLDER = "vectors"
"""In the cache; what lies there can be made again, and may be removed while nothing runs."""


def map_path(cache: Path, source: VectorSource, ids_digest: str, dtype: str) -> Path:
    """Return where the unit vectors of an id set lie; other vectors have another name."""
    encoder = source.stage.rpartition("/")[2]
    name = f"{encoder}@{ids_digest[:8]}-{source.digest[:8]}.{dtype.lstrip('<')}"
    return cache / FOLDER / name


def open_map(
    cache: Cache, source: VectorSource, chosen: IdSet, ids_digest: str, dtype: str
) -> NDArray[np.floating]:
    """Map the set's unit vectors, `(N, d)`, and make the file first if it is not there.

    Raises:
        InputError: A shard lacks a clip, or a vector holds NaN or infinity.
        CacheUnwritableError: The disk is full or cannot be written.
    """
    path = map_path(cache.path, source, ids_digest, dtype)
    shape = len(chosen.rows), source.dim
    if not path.exists() or path.stat().st_size != np.dtype(dtype).itemsize * shape[0] * shape[1]:
        remove_orphans(path.parent)
        _remove_older(path)
        with temporary(path) as draft:
            # written as a file: a full disk is an error there, and a crash in a map
            with draft.open("wb") as file:
                for _, unit in unit_vectors_by_shard(cache, source.stage, chosen):
                    file.write(unit.astype(dtype).data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    mapped: NDArray[np.floating] = np.memmap(path, dtype, "r", shape=shape)
    return mapped


def _remove_older(path: Path) -> None:
    """Remove maps and indexes of vectors that the encoder and set had before."""
    of_set = f"{path.name.rpartition('-')[0]}-"
    for older in path.parent.iterdir() if path.parent.exists() else ():
        if older.name.startswith(of_set) and not older.name.startswith(f"{path.stem}."):
            older.unlink(missing_ok=True)
