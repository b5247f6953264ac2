"""`neighbors`: the nearest clips of every clip, by one encoder's embeddings, over a set of ids.

Multi-positive alignment draws positives from them (Senocak et al. 2023, k = 1000 in each modality).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import NEIGHBORS, Header, shard_path
from ...cache.state import WHOLE, Part
from ...cache.store import Cache
from ...cache.writer import Rows, remove_orphans, write_shard
from ...errors import CacheCorruptError, InputError
from ..embed.run import EmbedProgress
from ..teachers.protocol import modality_of
from .cosine import QUERY_BLOCK, NearestRows, Queries
from .searched import Approximate, Search, vectors_for
from .vectors import id_set, is_done, vector_source

STAGE_VERSION = 1
_MODALITY = {"visual": "image", "audio": "audio"}
_LIBRARY = {True: "faiss-cpu", False: "torch"}


@dataclass(frozen=True)
class NeighborSummary:
    """What one run did; counts are clips.

    Attributes:
        stage: Folder that was filled, for example `neighbors/image-imagenet-resnet18@1a2b3c4d`.
        k: Neighbours of each clip.
        done: Done by this run.
        skipped: Done before.
        seconds: Wall-clock time.
        notices: What the user should know, one line each.
    """

    stage: str
    k: int
    done: int
    skipped: int
    seconds: float
    notices: tuple[str, ...] = ()


def neighbors(
    cache: Cache,
    encoder: str,
    k: int,
    *,
    ids: Collection[str] | None = None,
    hold_out: Collection[str] = (),
    device: str = "cpu",
    overwrite: bool = False,
    part: Part = WHOLE,
    approximate: Approximate | None = None,
    progress: EmbedProgress | None = None,
) -> NeighborSummary:
    """Search the neighbours of every clip of an id set, within that set.

    Args:
        cache: The cache; its embeddings (or hints) of that encoder must be there.
        encoder: A teacher, for example `imagenet-resnet18`.
        k: Neighbours wanted; as many as there are if there are fewer.
        ids: Clips to take; all that are done if None.
        hold_out: Clips to leave out (test clips must not become neighbours).
        device: `cpu` (FAISS), or where PyTorch is to multiply, for example `cuda`: the same
            neighbours, cosines that may differ in the last digit of float16.
        overwrite: Make shards again that were made with another k or other weights.
        part: Which of the blocks that are searched together to do; all counts are of them.
        approximate: Look through a part of the clips only; None: exact.
        progress: Told after every shard.

    Raises:
        InputError: Embeddings are missing or hold NaN, fewer than two clips are left, memory or
            disk do not suffice, or an approximate search finds too few.
        CacheCorruptError: Shards were made with other parameters or weights.
        CacheUnwritableError: The cache cannot be written.
    """
    started = time.monotonic()
    chosen = id_set(cache, ids, hold_out)
    source = vector_source(cache, encoder, chosen, part)
    notices = list(chosen.notices)
    others, clipped = len(chosen.rows) - 1, ""
    if not others:
        raise InputError(
            f"{cache.path}: {chosen.ids[0]} is the only finished clip of the set and has no "
            "neighbours; name two clips or more"
        )
    if k > others:
        clipped = f"k {k} is clipped to {others}, the number of other clips in the set"
        notices.append(clipped)
        k = others
    vectors = vectors_for(cache, chosen, source, k, approximate, part)
    common = Header(
        stage=f"{NEIGHBORS}/{_MODALITY[modality_of(encoder)]}-{encoder}@{chosen.digest[:8]}",
        stage_version=STAGE_VERSION,
        shard=-1,
        params={"k": k, "source": source.stage} | vectors.params,
        inputs={"ids": chosen.digest, source.stage: source.digest},
        n=0,
        done=0,
        weights=source.weights,
        versions={name: version(name) for name in (_LIBRARY[device == "cpu"], "numpy")},
    )
    remove_orphans(cache.path / common.stage)
    groups = _groups(chosen.spans)[part[0] :: part[1]]
    shards = [replace(common, shard=number) for group in groups for number in group]
    try:
        todo = {header.shard for header in shards if not is_done(cache, header, overwrite)}
    except CacheCorruptError as error:
        line = f"{error}{f' ({clipped})' if clipped else ''}"
        raise CacheCorruptError(line, fault=error.fault) from error
    total = sum(len(chosen.spans[header.shard]) for header in shards)
    before = done = total - sum(len(chosen.spans[number]) for number in todo)
    if progress:
        progress(common.stage, done, total)
    search, at_once = vectors.search(k, device, total - done) if done < total else (_nothing, 1)
    with closing(_found(search, chosen.spans, todo, at_once)) as found:
        for number, positions, cosines in found:
            span = chosen.spans[number]
            rows = np.where(positions < 0, -1, chosen.rows[positions])
            columns = {
                "row": Rows.array(chosen.rows[span.start : span.stop]),
                "rows": Rows.array(rows.astype("<i4")),
                "similarity": Rows.array(cosines.astype("<f2")),
            }
            header = replace(common, shard=number, n=len(span), done=len(span))
            write_shard(shard_path(cache.path, common.stage, number), header, columns)
            done += len(span)
            if progress:
                progress(common.stage, done, total)
    notices += vectors.notices
    seconds = time.monotonic() - started
    return NeighborSummary(common.stage, k, done - before, before, seconds, tuple(notices))


def _nothing(blocks: Iterable[Queries]) -> Generator[NearestRows]:
    """Search nothing: all is done."""
    yield from ()


def _found(
    search: Search, spans: dict[int, range], todo: set[int], blocks_at_once: int
) -> Generator[tuple[int, NDArray[np.int32], NDArray[np.float32]]]:
    """Yield each shard that is to do, its clips' neighbours as positions in the set, and cosines.

    The blocks that are searched are the same whatever is done already, and so are the bytes.
    """
    groups = [group for group in _groups(spans) if todo.intersection(group)]
    starts = range(0, len(groups), blocks_at_once)
    searched = [list(chain(*groups[start : start + blocks_at_once])) for start in starts]
    blocks = [_positions([spans[one] for one in shards]) for shards in searched]
    with closing(search(blocks)) as found:
        for shards, (positions, cosines) in zip(searched, found, strict=True):
            at = 0
            for number in shards:
                part = slice(at, at + len(spans[number]))
                at = part.stop
                if number in todo:
                    yield number, positions[part], cosines[part]


def _positions(spans: list[range]) -> Queries:
    """Return the positions of several shards' clips in the set, all in a row or not."""
    whole = range(spans[0].start, spans[-1].stop)
    if len(whole) == sum(map(len, spans)):
        return whole
    return np.concatenate([np.arange(span.start, span.stop) for span in spans])


def _groups(spans: dict[int, range]) -> list[list[int]]:
    """Return which shards are searched together: at least `QUERY_BLOCK` clips, but for the last."""
    groups: list[list[int]] = []
    num_clips = QUERY_BLOCK
    for number, span in spans.items():
        if num_clips >= QUERY_BLOCK:
            groups.append([])
            num_clips = 0
        groups[-1].append(number)
        num_clips += len(span)
    return groups
