"""`knn --image run:RUN`: the frames of a cache by what a run sees where their sounds are."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...cache.schema import EMBEDDINGS, EXTRACT, RUN_REGIONS, Header, shard_path
from ...cache.shard import read_header
from ...cache.state import WHOLE, Part, extracted_shards, of_part
from ...cache.store import Cache
from ...cache.writer import Rows, remove_orphans, write_shard
from ...errors import InputError
from ...stages.embed.run import EmbedProgress, EmbedSummary
from ...stages.embed.todo import agree
from ...train.runs.regions import VERSION, RunRegions, regions_of_run
from .run_encoder import PREFIX, is_run, run_encoder_name


def regions_of(name: str) -> dict[str, RunRegions]:
    """Open the run that `--image run:RUN` names, by what it is called in the names of stages.

    Raises:
        UsageError: No folder is named.
        InputError: There is no run, it has no checkpoint, or it only hears.
        CacheCorruptError: It is damaged.
    """
    if not is_run(name):
        return {}
    called = run_encoder_name(name, RUN_REGIONS)
    return {called: regions_of_run(Path(name.removeprefix(PREFIX)))}


def embed_regions(
    cache: Cache,
    name: str,
    run: RunRegions,
    *,
    device: str,
    overwrite: bool,
    part: Part = WHOLE,
    progress: EmbedProgress,
) -> EmbedSummary:
    """Make the region features that a cache lacks, shard by shard.

    Args:
        cache: The cache.
        name: What the run is called in the names of stages.
        run: The run.
        device: Where the run's network is.
        overwrite: Make shards again that were made with other weights.
        part: Which shards to do.
        progress: Told after every shard.

    Raises:
        InputError: The cache lacks what the run reads.
        CacheCorruptError: Shards were made with other weights.
        CacheUnwritableError: The cache cannot be written.
    """
    started = time.monotonic()
    stage = f"{EMBEDDINGS}/{name}"
    remove_orphans(cache.path / stage)
    numbers = of_part(extracted_shards(cache.path), part)
    planned = [_header(cache, stage, run, number) for number in numbers]
    todo = [header for header in planned if not _is_done(cache, header, overwrite)]
    total = sum(header.done for header in planned)
    before = done = total - sum(header.done for header in todo)
    progress(stage, done, total)
    see = run.open(device) if todo else None
    for header in todo:
        rows = cache.shard(EXTRACT, header.shard).rows
        values = see(cache, rows) if see and len(rows) else np.zeros((0, 1), np.float32)
        columns = {"row": Rows.array(rows), "value": Rows.array(values.astype("<f4"))}
        write_shard(shard_path(cache.path, stage, header.shard), header, columns)
        done += header.done
        progress(stage, done, total)
    seconds = time.monotonic() - started
    return EmbedSummary(done - before, before, seconds, {stage: run.digest})


def _header(cache: Cache, stage: str, run: RunRegions, number: int) -> Header:
    """Say what a shard is made from and how."""
    inputs = {}
    for source in run.reads:
        path = shard_path(cache.path, source, number)
        try:
            inputs[source] = read_header(path).sha256
        except FileNotFoundError:
            raise InputError(f"{path} is missing, and {run.folder} learnt from {source}") from None
    done = read_header(shard_path(cache.path, EXTRACT, number)).done
    return Header(
        stage=stage,
        stage_version=VERSION,
        shard=number,
        params=dict(run.params),
        inputs=inputs,
        n=done,
        done=done,
        weights=run.digest,
        versions={name: version(name) for name in ("numpy", "torch")},
    )


def _is_done(cache: Cache, wanted: Header, overwrite: bool) -> bool:
    path = shard_path(cache.path, wanted.stage, wanted.shard)
    if not path.exists():
        return False
    found = read_header(path)
    same = agree(path, found, wanted.stage_version, wanted.params, wanted.weights, overwrite)
    return same and found.inputs == wanted.inputs
