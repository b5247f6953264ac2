"""What `status` and `train` call stale: what its command would make again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.schema import EXTRACT, Header, shard_path
from avpipe.cache.shard import read_header
from avpipe.cache.stale import stale_shards
from avpipe.cache.state import drop_stage, stages
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.pipeline.tally import status
from avpipe.stages.neighbors.cluster import cluster
from avpipe.stages.neighbors.run import neighbors
from avpipe.train.data.columns import find_inputs
from avpipe.train.nets.model import Needs
from avpipe.train.recipe import Recipe
from cache_factory import make_cache

HINT = "hints/vggsound-resnet18"
HELD_OUT = ["clip000", "clip001", "clip002", "clip003", "clip005"]
"""All of the first shard, and one."""


def embed(cache: Cache, weights: str) -> None:
    """Write hints as `embed-teachers` does, from the clips as they are now."""
    seed = len(weights)
    for number in range(cache.manifest.num_shards):
        extract = read_header(shard_path(cache.path, EXTRACT, number))
        rows = cache.shard(EXTRACT, number).rows
        value = np.random.default_rng(seed + number).standard_normal((len(rows), 8))
        header = Header(
            stage=HINT, stage_version=1, shard=number, params={}, n=len(rows), done=len(rows),
            inputs={EXTRACT: extract.sha256}, weights=weights,
        )  # fmt: skip
        columns = {"row": Rows.array(rows), "value": Rows.array(value.astype("<f2"))}
        write_shard(shard_path(cache.path, HINT, number), header, columns)


def search(cache: Cache, **more: Any) -> None:
    neighbors(cache, "vggsound-resnet18", 2, hold_out=HELD_OUT, **more)
    cluster(cache, "vggsound-resnet18", 2, hold_out=HELD_OUT, **more)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = make_cache(tmp_path / "cache", 12, shard_clips=4)
    embed(cache, "old")
    search(cache)
    return cache


def told(cache: Cache) -> dict[str, int]:
    """Return the stale clips of each stage that has some."""
    found = {
        stage["name"].partition("@")[0]: stage["stale"] for stage in status(cache.path)["stages"]
    }
    return {name: count for name, count in found.items() if count}


NEIGHBORS, CLUSTERS = "neighbors/audio-vggsound-resnet18", "clusters/vggsound-resnet18-k2"


def test_other_vectors_make_neighbours_and_clusters_stale(cache: Cache) -> None:
    assert told(cache) == {}
    embed(cache, "other")
    assert told(cache) == {NEIGHBORS: 7, CLUSTERS: 7}
    rows = np.setdiff1d(cache.rows, [0, 1, 2, 3, 5])
    recipe = Recipe(partners="nearest", clusters="vggsound-resnet18-k2")
    lines = find_inputs(cache, rows, recipe, Needs(classes_of="sounds")).notices
    assert [line for line in lines if "is stale" in line and f"--cache {cache.path}`" in line] == [
        line for line in lines if "`avpipe knn " in line or "`avpipe cluster --" in line
    ]
    assert sum("is stale" in line for line in lines) == 2
    search(cache, overwrite=True)
    assert told(cache) == {}
    embed(cache, "other")
    assert told(cache) == {}  # the same bytes


def test_other_clips_make_all_that_follows_stale(cache: Cache) -> None:
    shard = cache.shard(EXTRACT, 1)
    columns = {name: Rows.array(shard.column(name)) for name in shard.header.columns}
    columns["duration_s"] = Rows.array(shard.column("duration_s") + 1)
    write_shard(shard.path, read_header(shard.path), columns)
    assert told(cache) == {HINT: 4, NEIGHBORS: 7, CLUSTERS: 7}


def test_clips_that_are_not_in_the_set_do_not_count(cache: Cache) -> None:
    path = shard_path(cache.path, HINT, 0)
    shard = cache.shard(HINT, 0)
    columns = {name: Rows.array(shard.column(name) * 2) for name in ("value",)}
    write_shard(path, shard.header, {"row": Rows.array(shard.rows), **columns})
    assert told(cache) == {}


def test_what_is_not_known_is_not_stale(cache: Cache) -> None:
    """A search that was killed, then vectors that were dropped."""
    (found,) = [stage for stage in stages(cache.path) if stage.startswith("neighbors/")]
    shard_path(cache.path, found, 2).unlink()
    assert stale_shards(cache.path, found) == set()
    embed(cache, "other")
    assert stale_shards(cache.path, found) == {0, 1}
    drop_stage(cache.path, HINT)
    assert told(cache) == {}
