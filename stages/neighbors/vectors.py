"""A set of clips and its vectors: neighbours are searched in it, clusters are made of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...advice import advice
from ...cache.schema import AUDIO, EMBEDDINGS, HINTS, Header, id_set_digest, shard_path
from ...cache.shard import read_header
from ...cache.stale import digest_of_shards
from ...cache.state import WHOLE, Part, extracted_shards, shard_numbers
from ...cache.store import Cache
from ...errors import CacheCorruptError, InputError
from ..embed.todo import agree, made_again
from .cosine import unit_vectors


@dataclass(frozen=True)
class IdSet:
    """Clips that belong together, by row.

    Attributes:
        rows: `(N,)` rows in the cache, ascending.
        ids: Their ids.
        spans: For every extracted shard which positions of `rows` lie in it, maybe none.
        notices: What the user should know, one line each.
    """

    rows: NDArray[np.int64]
    ids: tuple[str, ...]
    spans: dict[int, range]
    notices: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The sha256 (hex) of the ids; its first 8 digits name folders."""
        return id_set_digest(self.ids)

    @property
    def shards(self) -> frozenset[int]:
        """The shards that hold a clip of the set."""
        return frozenset(number for number, span in self.spans.items() if span)


def id_set(cache: Cache, ids: Collection[str] | None, hold_out: Collection[str]) -> IdSet:
    """Choose clips of a cache.

    Args:
        cache: The cache.
        ids: Clips to take; all that are done if None.
        hold_out: Clips to leave out.

    Raises:
        InputError: No clip is left, or the sounds of a shard of them are missing.
    """
    wanted = None if ids is None else set(ids)
    held_out = set(hold_out)
    kept = [
        (row, clip_id)
        for row, clip_id in zip(cache.rows.tolist(), cache.ids, strict=True)
        if (wanted is None or clip_id in wanted) and clip_id not in held_out
    ]
    if not kept:
        raise InputError(_nothing_left(cache, wanted, held_out))
    absent = set() if wanted is None else wanted - held_out - set(cache.ids)
    notices = _absences(cache, absent, len(wanted or ()))
    rows = np.array([row for row, _ in kept])
    return IdSet(rows, tuple(clip_id for _, clip_id in kept), _spans(cache, rows), tuple(notices))


def _nothing_left(cache: Cache, wanted: set[str] | None, held_out: set[str]) -> str:
    """Say why a set is empty, and what shows more."""
    done = set(cache.ids)
    if not done:
        return f"{cache.path} has no finished clip; run {advice('extract', cache.path)}"
    if wanted is None or wanted & done:
        return f"--hold-out leaves no clip: it holds all {len((wanted or done) & done)} of the set"
    lines = _absences(cache, wanted - held_out, len(wanted)) or ["--hold-out holds all of --ids"]
    return f"--ids: no listed clip is finished in {cache.path}: {'; '.join(lines)}"


def _absences(cache: Cache, absent: set[str], listed: int) -> list[str]:
    """Say of listed clips that are not done why: one line for those that failed, and so on."""
    if not absent:
        return []
    failed = absent & {failure.id for failure in cache.failures()}
    waiting = (absent - failed) & {line["id"] for _, line in cache.manifest.lines()}
    told = [
        ("failed", failed, f"; {advice('inspect --failures', cache.path)} says why"),
        ("are not extracted yet", waiting, f"; run {advice('extract', cache.path)}"),
        ("are not in the cache", absent - failed - waiting, ""),
    ]
    return [
        f"{len(ids)} of {listed} listed ids {what}, {_shown(min(ids))} first{remedy}"
        for what, ids, remedy in told
        if ids
    ]


def _shown(clip_id: str) -> str:
    """Write an id in a message, whatever bytes it is of."""
    return clip_id if clip_id.isprintable() and len(clip_id) <= 80 else repr(clip_id[:80])


def _spans(cache: Cache, rows: NDArray[np.int64]) -> dict[int, range]:
    spans = {}
    complete = extracted_shards(cache.path)
    for number in cache.extracted_shards():
        of_shard = cache.manifest.shard_rows(number)
        low, high = np.searchsorted(rows, [of_shard.start, of_shard.stop])
        spans[number] = range(int(low), int(high))
        if spans[number] and number not in complete:
            sound = shard_path(cache.path, AUDIO, number)
            raise InputError(f"{sound} is missing; run {advice('extract', cache.path)}")
    return spans


def source_kind(cache: Path, encoder: str) -> str:
    """Return which stage serves an encoder's vectors: `hints` where it is a teacher already."""
    is_hint = shard_numbers(cache, f"{HINTS}/{encoder}")
    is_embedding = shard_numbers(cache, f"{EMBEDDINGS}/{encoder}")
    return HINTS if is_hint and not is_embedding else EMBEDDINGS


@dataclass(frozen=True)
class VectorSource:
    """Where the vectors of an id set come from.

    Attributes:
        stage: For example `embeddings/vggsound-resnet18`.
        digest: Of the content of the shards that hold the set's vectors.
        weights: Digest of the weights they were made with.
        dim: Numbers of a vector.
    """

    stage: str
    digest: str
    weights: str | None
    dim: int


def vector_source(cache: Cache, encoder: str, chosen: IdSet, part: Part = WHOLE) -> VectorSource:
    """Find an encoder's vectors of an id set, from 4 KiB headers alone.

    Raises:
        InputError: A shard is missing.
        CacheCorruptError: They were made with different weights.
    """
    stage = f"{source_kind(cache.path, encoder)}/{encoder}"
    headers = [
        _source_header(cache, stage, number, part) for number, span in chosen.spans.items() if span
    ]
    found = {header.weights for header in headers}
    if len(found) > 1:
        way = made_again(shard_path(cache.path, stage, headers[0].shard), headers[0])
        raise CacheCorruptError(
            f"{cache.path}: {stage} mixes weights {' and '.join(sorted(map(str, found)))}; to make "
            f"it again {way if stage.startswith(f'{HINTS}/') else f'give {way}'}"
        )
    dim = next(iter(headers)).columns["value"].shape[1]
    return VectorSource(stage, digest_of_shards(headers), found.pop(), dim)


def _source_header(cache: Cache, stage: str, number: int, part: Part) -> Header:
    try:
        return read_header(shard_path(cache.path, stage, number))
    except FileNotFoundError:
        remedy = "the command embeds first"
        if part != WHOLE:
            other = f"--part {number % part[1]}/{part[1]}"
            remedy = f"it is made by {other}: run this command again when all parts have embedded"
        raise InputError(
            f"{cache.path}: {stage} is not complete (shard {number}); {remedy}"
        ) from None


def unit_vectors_of(cache: Cache, stage: str, chosen: IdSet) -> NDArray[np.float32]:
    """Return the set's unit vectors, `(N, d)`; a map is averaged over its cells.

    Raises:
        InputError: A shard lacks a clip, or a vector holds NaN or infinity: the clip is named.
    """
    unit = np.empty((0, 0), np.float32)
    for number, of_shard in unit_vectors_by_shard(cache, stage, chosen):
        if not len(unit):
            unit = np.empty((len(chosen.rows), of_shard.shape[1]), np.float32)
        span = chosen.spans[number]
        unit[span.start : span.stop] = of_shard
    return unit


def unit_vectors_by_shard(
    cache: Cache, stage: str, chosen: IdSet
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield each shard's number and the unit vectors of the set's clips in it, if it has some.

    Raises:
        InputError: See `unit_vectors_of`.
    """
    for number, span in chosen.spans.items():
        if span:
            yield number, shard_vectors(cache, stage, number, chosen.rows[span.start : span.stop])


def shard_vectors(
    cache: Cache, stage: str, number: int, wanted: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the unit vectors of some rows of a shard, `(n, d)`.

    Raises:
        InputError: See `unit_vectors_of`.
    """
    shard = cache.shard(stage, number)
    position = np.searchsorted(shard.rows, wanted)
    if not np.array_equal(shard.rows[np.minimum(position, len(shard.rows) - 1)], wanted):
        raise InputError(f"{shard.path} lacks clips of its shard; run the same command again")
    value = shard.column("value")[position].astype(np.float32)
    pooled = value.reshape(*value.shape[:2], -1).mean(axis=2)
    try:
        return unit_vectors(pooled)
    except ValueError as error:
        bad = wanted[~np.isfinite(pooled).all(axis=1)][0]
        clip_id = cache.manifest.line(int(bad))["id"]
        raise InputError(f"{shard.path}: clip {clip_id} (row {bad}): {error}") from error


def is_done(cache: Cache, wanted: Header, overwrite: bool) -> bool:
    """Whether a shard is there and made from the same vectors.

    Raises:
        CacheCorruptError: If it was made with other parameters or weights, unless `overwrite`.
    """
    path = shard_path(cache.path, wanted.stage, wanted.shard)
    if not path.exists():
        return False
    found = read_header(path)
    same = agree(path, found, wanted.stage_version, wanted.params, wanted.weights, overwrite)
    return same and found.inputs == wanted.inputs
