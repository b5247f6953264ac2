"""Embeddings written into a cache, and what stages made of them read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from avpipe.cache.schema import EXTRACT, Header, shard_path
from avpipe.cache.shard import read_header
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from numpy.typing import NDArray


def embedded(cache: Cache, values: NDArray[np.floating], stage: str, weights: str = "w") -> None:
    """Write embeddings `values[row]` for every extracted shard."""
    for number in range(cache.manifest.num_shards):
        rows = cache.shard(EXTRACT, number).rows
        extract = read_header(shard_path(cache.path, EXTRACT, number))
        header = Header(
            stage=stage, stage_version=1, shard=number, params={}, n=len(rows), done=len(rows),
            inputs={EXTRACT: extract.sha256}, weights=weights,
        )  # fmt: skip
        columns = {"row": Rows.array(rows), "value": Rows.array(values[rows])}
        write_shard(shard_path(cache.path, stage, number), header, columns)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def stored(cache: Cache, stage: str) -> tuple[NDArray[np.int64], ...]:
    shards = [cache.shard(stage, number) for number in range(cache.manifest.num_shards)]
    names = ("row", "rows", "similarity")
    return tuple(np.concatenate([shard.column(name) for shard in shards]) for name in names)
