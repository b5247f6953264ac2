"""Batches from the cache: all clips held in memory, or read ahead while the network works.

Both ways give the same bytes: frames as uint8, spectrograms as float16, as stored.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cache.shard import Shard
from .clips import ClipReader

DataMode = Literal["resident", "stream", "auto"]
_AHEAD = 3
"""Batches that `stream` reads ahead: enough to hide an uneven one."""


@dataclass(frozen=True)
class Batch:
    """Clips as they are stored.

    Attributes:
        rows: `(B,)` cache rows.
        frames: `(B, H, W, 3)` uint8; each frame fills its top left corner.
        frame_hw: `(B, 2)` height and width of each.
        spectrograms: `(B, 257, T)` float16, with margins.
        valid_cols: `(B, 2)` half-open range of columns that hold real sound.
    """

    rows: NDArray[np.int64]
    frames: Tensor
    frame_hw: NDArray[np.int64]
    spectrograms: Tensor
    valid_cols: NDArray[np.int64]


class Source(Protocol):
    """Where batches come from."""

    def batches(self, picks: Iterable[NDArray[np.int64]]) -> Iterator[Batch]:
        """Yield a batch for each array of positions among the source's rows."""


class Stream:
    """Reads every batch when it is needed, a few ahead."""

    def __init__(self, reader: ClipReader, workers: int) -> None:
        """Read through `reader` with that many threads (JPEG and `pread` release the lock)."""
        self._reader = reader
        self._workers = workers
        self._valid_cols = reader.facts("valid_cols").astype(np.int64)

    def batches(self, picks: Iterable[NDArray[np.int64]]) -> Iterator[Batch]:
        """Yield a batch for each array of positions among the source's rows."""
        with ThreadPoolExecutor(self._workers) as pool:
            ahead = (self._submit(pool, pick) for pick in picks)
            waiting = deque(islice(ahead, _AHEAD))
            while waiting:
                pick, futures = waiting.popleft()
                clips = [future.result() for future in futures]
                waiting.extend(islice(ahead, 1))
                yield self._collate(pick, clips)

    def _submit(
        self, pool: ThreadPoolExecutor, pick: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], list[Future[Any]]]:
        where = [self._reader.locate(position) for position in pick.tolist()]
        return pick, [pool.submit(self._reader.read, *place) for place in where]

    def _collate(self, pick: NDArray[np.int64], clips: list[Any]) -> Batch:
        frame_hw = np.array([frame.shape[:2] for frame, _ in clips])
        frames = np.zeros((len(clips), *frame_hw.max(0), 3), np.uint8)
        for target, (frame, _) in zip(frames, clips, strict=True):
            target[: frame.shape[0], : frame.shape[1]] = frame
        return Batch(
            self._reader.rows[pick],
            torch.from_numpy(frames),
            frame_hw,
            torch.from_numpy(np.stack([spectrogram for _, spectrogram in clips])),
            self._valid_cols[pick],
        )


class Resident:
    """Holds all clips on the device: frames in one flat buffer, spectrograms in one array."""

    def __init__(self, reader: ClipReader, workers: int, device: torch.device) -> None:
        """Read all clips of `reader`."""
        self._rows = reader.rows
        self._valid_cols = reader.facts("valid_cols").astype(np.int64)
        stored_hw = reader.facts("frame_hw").tolist()
        self._frame_hw = np.array([reader.frame_size(*hw) for hw in stored_hw], np.int64)
        self._offset = np.cumsum([0, *(self._frame_hw.prod(1) * 3)])
        shard, _ = reader.locate(0)
        shape = shard.header.columns["spectrogram_wide"].shape[1:]
        frames = torch.empty(int(self._offset[-1]), dtype=torch.uint8)
        spectrograms = torch.empty((len(self._rows), *shape), dtype=torch.float16)
        flat, stacked = frames.numpy(), spectrograms.numpy()

        def load(position: int, shard: Shard, index: int) -> None:
            frame, spectrogram = reader.read(shard, index)
            flat[self._offset[position] : self._offset[position + 1]] = frame.ravel()
            stacked[position] = spectrogram

        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[None]] = deque()
            for position in range(len(self._rows)):
                waiting.append(pool.submit(load, position, *reader.locate(position)))
                if len(waiting) > 8 * workers:  # bounds the open shards that the queue keeps alive
                    waiting.popleft().result()
            for future in waiting:
                future.result()
        self._frames = frames.to(device)
        self._spectrograms = spectrograms.to(device)

    def batches(self, picks: Iterable[NDArray[np.int64]]) -> Iterator[Batch]:
        """Yield a batch for each array of positions among the source's rows."""
        for pick in picks:
            frame_hw = self._frame_hw[pick]
            frames = self._frames.new_zeros((len(pick), *frame_hw.max(0).tolist(), 3))
            for target, position in zip(frames, pick.tolist(), strict=True):
                height, width = self._frame_hw[position].tolist()
                flat = self._frames[self._offset[position] : self._offset[position + 1]]
                target[:height, :width] = flat.view(height, width, 3)
            chosen = torch.from_numpy(pick).to(self._spectrograms.device)
            yield Batch(
                self._rows[pick],
                frames,
                frame_hw,
                self._spectrograms[chosen],
                self._valid_cols[pick],
            )


def resident_bytes(reader: ClipReader) -> tuple[int, int]:
    """Return what `Resident` would hold: bytes of frames, bytes of spectrograms."""
    sizes = [reader.frame_size(*hw) for hw in reader.facts("frame_hw").tolist()]
    shard, _ = reader.locate(0)
    per_clip = shard.header.columns["spectrogram_wide"].nbytes // shard.header.done
    return sum(h * w * 3 for h, w in sizes), per_clip * len(reader.rows)


def open_source(
    reader: ClipReader, mode: DataMode, device: torch.device, workers: int | None = None
) -> tuple[Source, str]:
    """Open the clips of `reader` for training.

    Args:
        reader: The clips.
        mode: `resident`, `stream`, or `auto`: resident where half of the free memory holds them,
            on the GPU if there is one, else in main memory.
        device: Where the network is.
        workers: Threads that read; None for one per processor, at most 8.

    Returns:
        The source, and a line that says what was chosen and why.
    """
    threads = workers or min(8, os.cpu_count() or 1)
    frames, spectrograms = resident_bytes(reader)
    total = frames + spectrograms
    free = {torch.device("cpu"): free_memory_bytes()}
    if device.type == "cuda":
        free = {device: torch.cuda.mem_get_info(device)[0], **free}
    fits = [place for place, bytes_free in free.items() if total <= bytes_free // 2]
    line = f"{len(reader.rows)} clips: frames {_size(frames)}, spectrograms {_size(spectrograms)}"
    if mode == "stream" or (mode == "auto" and not fits):
        return Stream(reader, threads), f"{line}; streamed from the cache"
    place = fits[0] if fits else torch.device("cpu")
    return Resident(reader, threads, place), f"{line}; resident on {place.type}"


def free_memory_bytes() -> int:
    """Return the main memory that programs can still take; where nothing says, a quarter."""
    try:
        text = Path("/proc/meminfo").read_text("ascii")
        return int(text.partition("MemAvailable:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
