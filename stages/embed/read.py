"""What `embed` reads: inputs of a network, decoded in threads while the network is busy."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import AUDIO, EXTRACT
from ...cache.shard import Shard
from ...cache.state import audio_of
from ...cache.store import Cache
from ...machine import granted_cores
from ..teachers.protocol import Teacher

T = TypeVar("T")
_BATCHES_AHEAD = 2
_MAX_THREADS = 8


@dataclass(frozen=True)
class NetworkBatch:
    """Some clips of a shard, in order, ready for a network; a shard without clips has one too.

    Attributes:
        shard: Shard number.
        rows: Rows of all clips of the shard.
        inputs: What the shard is made from, stage to sha256.
        given: What the network takes, `(batch, ...)`; None where the shard has no clip.
        last: Whether the shard ends here.
    """

    shard: int
    rows: NDArray[np.int64]
    inputs: dict[str, str]
    given: NDArray[Any] | None
    last: bool


def read_batches(
    cache: Cache, teacher: Teacher, shards: Iterable[int], batch_size: int
) -> Generator[NetworkBatch]:
    """Read, decode and prepare shards batch by batch, at most two batches ahead of the caller.

    Until the last batch is taken the cache belongs to another thread. An error there is raised
    here, at the batch that it belongs to.
    """
    num_threads = min(_MAX_THREADS, max(1, granted_cores() // 2))  # the others compute
    with ThreadPoolExecutor(num_threads) as workers:
        yield from ahead(_batches(cache, teacher, shards, batch_size, workers), _BATCHES_AHEAD)


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """Yield what `items` yields; a thread takes it from there, up to `depth` items ahead."""
    thread, end = ThreadPoolExecutor(1), object()

    def submit() -> Future[object]:
        return thread.submit(lambda: next(items, end))

    try:
        waiting = deque(submit() for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(submit())
            yield cast(T, item)
    finally:
        thread.shutdown(cancel_futures=True)


def _batches(
    cache: Cache,
    teacher: Teacher,
    shards: Iterable[int],
    batch_size: int,
    workers: ThreadPoolExecutor,
) -> Iterator[NetworkBatch]:
    prepare = partial(_prepare, teacher)
    for number in shards:
        extract = cache.shard(EXTRACT, number)
        inputs = {EXTRACT: extract.header.sha256}
        if teacher.READS == "waveform":
            inputs[AUDIO] = audio_of(cache.path, extract.header).sha256
        clips = list(_clips(cache, number, teacher))
        for start in range(0, len(clips), batch_size):
            given = list(workers.map(prepare, clips[start : start + batch_size]))
            last = start + batch_size >= len(clips)
            yield NetworkBatch(number, extract.rows, inputs, np.stack(given), last)
        if not clips:
            yield NetworkBatch(number, extract.rows, inputs, None, last=True)


def _clips(cache: Cache, shard: int, teacher: Teacher) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield each clip's JPEG and 0, or its waveform and where in it the frame lies; not yet read.

    They are views of a mapped file.
    """
    if teacher.READS == "frame":
        jpegs = _ragged(cache.shard(EXTRACT, shard), "frame_jpeg", "frame_offset")
        yield from ((jpeg, 0) for jpeg in jpegs)
    else:
        audio = cache.shard(AUDIO, shard)
        frame_samples = audio.column("frame_sample").tolist()
        yield from zip(_ragged(audio, "waveform", "waveform_offset"), frame_samples, strict=True)


def _prepare(teacher: Teacher, clip: tuple[NDArray[Any], int]) -> NDArray[Any]:
    if teacher.READS == "frame":
        return teacher.prepare(decode_jpeg(clip[0]))
    return teacher.prepare(*clip)


def _ragged(shard: Shard, name: str, offset_name: str) -> Iterator[NDArray[Any]]:
    offsets = shard.column(offset_name).tolist()
    for start, stop in pairwise(offsets):
        yield shard.span(name, start, stop)


def decode_jpeg(jpeg: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the `(H, W, 3)` uint8 RGB frame of a JPEG's bytes."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB"))
