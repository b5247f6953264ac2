"""`neighbors`: the nearest clips of every clip, by one encoder's embeddings, over a set of ids.

Multi-positive alignment draws positives from them (Senocak et al. 2023, k = 1000 in each modality).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache.schema import Header, digest, shard_path
from ..cache.shard import read_header
from ..cache.state import extracted_shards, shard_numbers
from ..cache.store import Cache
from ..cache.writer import Rows, remove_orphans, write_shard
from ..errors import CacheCorruptError, InputError
from .cosine import knn as knn
from .cosine import nearest, unit_vectors
from .embed import EMBEDDINGS, HINTS, Progress
from .embed_plan import agree
from .teachers.protocol import modality_of

__all__ = ["NeighborSummary", "id_set_digest", "knn", "neighbors", "source_kind"]

STAGE_VERSION = 1
NEIGHBORS = "neighbors"
_MODALITY = {"visual": "image", "audio": "audio"}


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

    def as_json(self) -> dict[str, Any]:
        """Return the `--json` form."""
        return {
            "schema": "avpipe.knn/1",
            "stage": self.stage,
            "k": self.k,
            "done": self.done,
            "skipped": self.skipped,
            "failed": 0,
            "failed_total": 0,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.done / self.seconds, 3) if self.done else 0.0,
            "notices": list(self.notices),
        }


def neighbors(
    cache: Cache,
    encoder: str,
    k: int,
    *,
    ids: Collection[str] | None = None,
    hold_out: Collection[str] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> NeighborSummary:
    """Search the neighbours of every clip of an id set, within that set.

    Args:
        cache: The cache; its embeddings (or hints) of that encoder must be there.
        encoder: A teacher, for example `imagenet-resnet18`.
        k: Neighbours wanted; as many as there are if there are fewer.
        ids: Clips to take; all that are done if None.
        hold_out: Clips to leave out (test clips must not become neighbours).
        overwrite: Make shards again that were made with another k or other weights.
        progress: Told after every shard.

    Raises:
        InputError: Embeddings are missing or hold NaN, or no clip is left.
        CacheCorruptError: Shards were made with other parameters or weights.
        CacheUnwritableError: The cache cannot be written.
    """
    started = time.monotonic()
    rows, chosen, notices = _id_set(cache, ids, hold_out)
    source = f"{source_kind(cache, encoder)}/{encoder}"
    spans = _spans(cache, rows)
    made_from = [_source_header(cache, source, number) for number, span in spans.items() if span]
    if k > len(rows) - 1:
        notices.append(f"k {k} is clipped to {len(rows) - 1}, the number of other clips in the set")
        k = len(rows) - 1
    set_digest = id_set_digest(chosen)
    common = Header(
        stage=f"{NEIGHBORS}/{_MODALITY[modality_of(encoder)]}-{encoder}@{set_digest[:8]}",
        stage_version=STAGE_VERSION,
        shard=-1,
        params={"k": k, "source": source},
        inputs={
            "ids": set_digest,
            source: digest([[header.shard, header.sha256] for header in made_from]),
        },
        n=0,
        done=0,
        weights=_common_weights(source, made_from),
        versions={name: version(name) for name in ("faiss-cpu", "numpy")},
    )
    remove_orphans(cache.path / common.stage)
    todo = [number for number in spans if not _is_done(cache, common, number, overwrite)]
    total, done = sum(len(spans[number]) for number in todo), 0
    if progress:
        progress(common.stage, 0, total)
    unit = _unit_vectors(cache, source, rows, spans) if total else np.empty((0, 1), np.float32)
    for number in todo:
        _search_shard(cache, replace(common, shard=number), unit, rows, spans[number])
        done += len(spans[number])
        if progress:
            progress(common.stage, done, total)
    seconds = time.monotonic() - started
    return NeighborSummary(common.stage, k, done, len(rows) - done, seconds, tuple(notices))


def _is_done(cache: Cache, wanted: Header, number: int, overwrite: bool) -> bool:
    """Whether a shard is there and made from the same embeddings; raises if otherwise made."""
    path = shard_path(cache.path, wanted.stage, number)
    if not path.exists():
        return False
    found = read_header(path)
    same = agree(path, found, wanted.stage_version, wanted.params, wanted.weights, overwrite)
    return same and found.inputs == wanted.inputs


def _search_shard(
    cache: Cache, header: Header, unit: NDArray[np.float32], rows: NDArray[np.int64], span: range
) -> None:
    """Search and publish the neighbours of the clips of one shard."""
    base = np.arange(len(rows))
    index, similarity = nearest(unit, base[span.start : span.stop], header.params["k"], base)
    columns = {
        "row": Rows.array(rows[span.start : span.stop]),
        "rows": Rows.array(np.where(index < 0, -1, rows[index]).astype("<i4")),
        "similarity": Rows.array(similarity.astype("<f2")),
    }
    header = replace(header, n=len(span), done=len(span))
    write_shard(shard_path(cache.path, header.stage, header.shard), header, columns)


def source_kind(cache: Cache, encoder: str) -> str:
    """Return which stage serves an encoder's vectors: `hints` where it is a teacher already."""
    is_hint = shard_numbers(cache.path, f"{HINTS}/{encoder}")
    return (
        HINTS
        if is_hint and not shard_numbers(cache.path, f"{EMBEDDINGS}/{encoder}")
        else EMBEDDINGS
    )


def id_set_digest(ids: Collection[str]) -> str:
    """Return the sha256 (hex) of a set of ids; its first 8 digits name the folder."""
    text = "\n".join(sorted(ids))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _id_set(
    cache: Cache, ids: Collection[str] | None, hold_out: Collection[str]
) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Return rows and ids of the set, and notices."""
    wanted = None if ids is None else set(ids)
    held_out = set(hold_out)
    kept = [
        (row, clip_id)
        for row, clip_id in zip(cache.rows.tolist(), cache.ids, strict=True)
        if (wanted is None or clip_id in wanted) and clip_id not in held_out
    ]
    if not kept:
        raise InputError(f"{cache.path}: no finished clip is left in the id set")
    notices = []
    if wanted is not None and (absent := wanted - held_out - set(cache.ids)):
        notices.append(
            f"{len(absent)} of {len(wanted)} listed ids are not in the cache, {min(absent)} first"
        )
    return np.array([row for row, _ in kept]), [clip_id for _, clip_id in kept], notices


def _spans(cache: Cache, rows: NDArray[np.int64]) -> dict[int, range]:
    """Return for every extracted shard which positions of `rows` lie in it, maybe none."""
    spans = {}
    for number in sorted(extracted_shards(cache.path)):
        of_shard = cache.manifest.shard_rows(number)
        low, high = np.searchsorted(rows, [of_shard.start, of_shard.stop])
        spans[number] = range(int(low), int(high))
    return spans


def _source_header(cache: Cache, source: str, number: int) -> Header:
    try:
        return read_header(shard_path(cache.path, source, number))
    except FileNotFoundError:
        raise InputError(
            f"{cache.path}: {source} is not complete (shard {number}); run `avpipe knn` to embed "
            "first"
        ) from None


def _common_weights(source: str, headers: list[Header]) -> str | None:
    found = {header.weights for header in headers}
    if len(found) > 1:
        raise CacheCorruptError(
            f"{source} mixes weights {' and '.join(sorted(map(str, found)))}; make it again with "
            "--overwrite"
        )
    return found.pop()


def _unit_vectors(
    cache: Cache, source: str, rows: NDArray[np.int64], spans: dict[int, range]
) -> NDArray[np.float32]:
    """Return the set's unit vectors, `(N, d)`; a map is averaged over its cells."""
    unit = np.empty((0, 0), np.float32)
    for number, span in spans.items():
        if not span:
            continue
        shard = cache.shard(source, number)
        wanted = rows[span.start : span.stop]
        position = np.searchsorted(shard.rows, wanted)
        if not np.array_equal(shard.rows[np.minimum(position, len(shard.rows) - 1)], wanted):
            raise InputError(f"{shard.path} lacks clips of its shard; run `avpipe knn` again")
        value = shard.column("value")[position].astype(np.float32)
        pooled = value.reshape(*value.shape[:2], -1).mean(axis=2)
        if not len(unit):
            unit = np.empty((len(rows), pooled.shape[1]), np.float32)
        try:
            unit[span.start : span.stop] = unit_vectors(pooled)
        except ValueError as error:
            bad = wanted[~np.isfinite(pooled).all(axis=1)][0]
            clip_id = cache.manifest.line(int(bad))["id"]
            raise InputError(f"{shard.path}: clip {clip_id} (row {bad}): {error}") from error
    return unit
