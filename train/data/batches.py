"""Batches from the cache, read ahead while the network works.

Frames are uint8, spectrograms and hints float16, as stored or as `extract` would have stored them;
`sources.Resident` gives the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache.shard import Shard
from ..choices import DataMode as DataMode
from .clips import ClipReader
from .columns import BatchColumn

_AHEAD = 3
"""Batches that `stream` reads ahead: enough to hide an uneven one."""
_PARTS = 4
"""Tasks for each thread and batch: few, as handing over one costs a tenth of reading a clip."""


@dataclass(frozen=True)
class Pick:
    """What a batch is made of, as positions among the source's rows.

    Attributes:
        clips: The B clips.
        frames: Whose frames; the first B are the clips', or those seen instead. May be empty.
        sounds: Whose sounds; likewise.
    """

    clips: NDArray[np.int64]
    frames: NDArray[np.int64]
    sounds: NDArray[np.int64]

    @classmethod
    def of(cls, positions: NDArray[np.int64]) -> Pick:
        """Take the clips' own frames and sounds."""
        return cls(positions, positions, positions)


@dataclass(frozen=True)
class Batch:
    """Clips as they are stored: F frames, S sounds, and what goes with the first B of them.

    Attributes:
        rows: `(B,)` cache rows of the clips.
        frames: `(F, H, W, 3)` uint8; each frame fills its top left corner.
        frame_hw: `(F, 2)` height and width of each.
        spectrograms: `(S, 257, T)` float16, with margins.
        valid_cols: `(S, 2)` half-open range of columns that hold real sound.
        columns: `(B, ...)` hints and labels, by name; cached features `(F, ...)` or `(S, ...)`,
            and then there are no frames or no spectrograms.
    """

    rows: NDArray[np.int64]
    frames: Tensor
    frame_hw: NDArray[np.int64]
    spectrograms: Tensor
    valid_cols: NDArray[np.int64]
    columns: dict[str, Tensor]


class Source(Protocol):
    """Where batches come from."""

    def batches(self, picks: Iterable[Pick]) -> Iterator[Batch]:
        """Yield a batch for each pick."""


class Stream:
    """Reads every batch when it is needed, a few ahead."""

    def __init__(self, reader: ClipReader, workers: int, *, pin: bool = False) -> None:
        """Read through `reader` with that many threads (JPEG and copying release the lock).

        Args:
            reader: The clips.
            workers: Threads.
            pin: Put batches where a GPU can fetch them while it computes.
        """
        self._reader = reader
        self._workers = workers
        self._pin = pin

    def batches(self, picks: Iterable[Pick]) -> Iterator[Batch]:
        """Yield a batch for each pick."""
        with ThreadPoolExecutor(self._workers) as pool:
            ahead = (self._submit(pool, pick) for pick in picks)
            waiting = deque(islice(ahead, _AHEAD))
            while waiting:
                batch, jobs = waiting.popleft()
                for job in jobs:
                    job.result()
                waiting.extend(islice(ahead, 1))
                yield batch

    def _submit(self, pool: ThreadPoolExecutor, pick: Pick) -> tuple[Batch, list[Future[None]]]:
        """Begin to fill a batch."""
        reader = self._reader
        frame_hw = reader.frame_hw[pick.frames]
        seen = pick.frames if reader.frames else pick.frames[:0]
        heard = pick.sounds if reader.sounds else pick.sounds[:0]
        frames = self._empty((len(seen), *largest(frame_hw), 3), torch.uint8)
        sounds = self._empty((len(heard), *reader.spectrogram_shape), torch.float16)
        owners = {name: owners_of(pick, column) for name, column in reader.columns.items()}
        columns = {
            name: self._empty((len(owners[name]), *column.shape), torch_dtype(reader, name))
            for name, column in reader.columns.items()
        }
        jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (read_frame, (reader, frames[i].numpy(), *reader.locate(at)))
            for i, at in enumerate(seen.tolist())
        ]
        jobs += [
            (reader.read_sound, (sounds[i].numpy(), *reader.locate(at, reader.sound_stage)))
            for i, at in enumerate(heard.tolist())
        ]
        for name, column in reader.columns.items():
            jobs += [
                (read_item, (reader, columns[name][i : i + 1].numpy(), name,
                             *reader.locate(at, column.stage)))
                for i, at in enumerate(owners[name].tolist())
            ]  # fmt: skip
        parts = min(len(jobs), _PARTS * self._workers)
        running = [pool.submit(_do_all, jobs[part::parts]) for part in range(parts)]
        rows, valid_cols = reader.rows[pick.clips], reader.valid_cols
        batch = Batch(rows, frames, frame_hw, sounds, valid_cols[pick.sounds], columns)
        return batch, running

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self._pin)


def _do_all(jobs: Iterable[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    for job, given in jobs:
        job(*given)


def read_frame(reader: ClipReader, target: NDArray[np.uint8], shard: Shard, index: int) -> None:
    """Decode a frame into the top left corner of `target`; what lies beside it becomes 0."""
    frame = reader.read_frame(shard, index)
    height, width, _ = frame.shape
    target[:height, :width] = frame
    target[height:], target[:height, width:] = 0, 0


def read_item(
    reader: ClipReader, target: NDArray[Any], name: str, shard: Shard, index: int
) -> None:
    """Put an element of a column into `target`, `(1, ...)`."""
    reader.read_column(target, name, shard, index)


def owners_of(pick: Pick, column: BatchColumn) -> NDArray[np.int64]:
    """Return the positions of those a column's elements of a batch are of."""
    owners = pick.frames if column.of_frames else pick.sounds
    return owners if column.whole else owners[: len(pick.clips)]


def torch_dtype(reader: ClipReader, name: str) -> torch.dtype:
    """Return what a column's elements are."""
    column = reader.columns[name]
    shard, _ = reader.locate(0, column.stage)
    return torch.from_numpy(np.empty(0, shard.header.columns[column.name].dtype)).dtype


def largest(frame_hw: NDArray[np.int64]) -> tuple[int, int]:
    """Return the height and width that hold frames of these sizes."""
    height, width = frame_hw.max(0).tolist() if len(frame_hw) else (1, 1)
    return height, width
