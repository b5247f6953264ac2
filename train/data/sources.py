"""Where batches come from: all clips held in memory, or read as they are needed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from ...machine import free_memory_bytes, granted_cores
from .batches import (
    Batch,
    DataMode,
    Pick,
    Source,
    Stream,
    largest,
    owners_of,
    read_frame,
    read_item,
    torch_dtype,
)
from .clips import ClipReader


class Resident:
    """Holds all clips on the device: frames in one flat buffer, all else in one array each."""

    def __init__(
        self, reader: ClipReader, workers: int, device: torch.device, *, frames: bool = True
    ) -> None:
        """Read all clips of `reader`.

        Args:
            reader: The clips.
            workers: Threads that read.
            device: Where to hold them.
            frames: Whether frames are needed.
        """
        self._reader = reader
        num, frames = len(reader.rows), frames and reader.frames
        self._offset = np.cumsum([0, *(reader.frame_hw.prod(1) * 3)])
        flat = torch.empty(int(self._offset[-1]) if frames else 0, dtype=torch.uint8)
        heard_of = num if reader.sounds else 0
        sounds = torch.empty((heard_of, *reader.spectrogram_shape), dtype=torch.float16)
        columns = {
            name: torch.empty((num, *column.shape), dtype=torch_dtype(reader, name))
            for name, column in reader.columns.items()
        }
        pixels, heard = flat.numpy(), sounds.numpy()

        def fill(position: int) -> Iterator[tuple[Callable[..., None], tuple[object, ...]]]:
            """Yield what there is to read of one clip."""
            place = reader.locate(position)
            if frames:
                span = pixels[self._offset[position] : self._offset[position + 1]]
                target = span.reshape(*reader.frame_hw[position], 3)
                yield read_frame, (reader, target, *place)
            if reader.sounds:
                sound = reader.locate(position, reader.sound_stage)
                yield reader.read_sound, (heard[position], *sound)
            for name, column in reader.columns.items():
                target = columns[name][position : position + 1].numpy()
                yield read_item, (reader, target, name, *reader.locate(position, column.stage))

        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[None]] = deque()
            for position in range(num):
                waiting.extend(pool.submit(job, *given) for job, given in fill(position))
                while len(waiting) > 8 * workers:  # bounds the open shards the queue keeps alive
                    waiting.popleft().result()
            for future in waiting:
                future.result()
        self._frames = flat.to(device)
        self._spectrograms = sounds.to(device)
        self._columns = {name: values.to(device) for name, values in columns.items()}

    def batches(self, picks: Iterable[Pick]) -> Iterator[Batch]:
        """Yield a batch for each pick."""
        for pick in picks:
            frame_hw = self._reader.frame_hw[pick.frames]
            seen = pick.frames if self._reader.frames else pick.frames[:0]
            heard = pick.sounds if self._reader.sounds else pick.sounds[:0]
            frames = self._frames.new_zeros((len(seen), *largest(frame_hw), 3))
            for target, position in zip(frames, seen.tolist(), strict=True):
                height, width = self._reader.frame_hw[position].tolist()
                flat = self._frames[self._offset[position] : self._offset[position + 1]]
                target[:height, :width] = flat.view(height, width, 3)
            device = self._spectrograms.device
            yield Batch(
                self._reader.rows[pick.clips],
                frames,
                frame_hw,
                self._spectrograms[torch.from_numpy(heard).to(device)],
                self._reader.valid_cols[pick.sounds],
                {
                    name: values[torch.from_numpy(owners_of(pick, column)).to(device)]
                    for name, values in self._columns.items()
                    for column in [self._reader.columns[name]]
                },
            )


def resident_bytes(reader: ClipReader, frames: bool = True) -> dict[str, int]:
    """Return what `Resident` would hold, in bytes: frames, spectrograms, and each column."""
    num = len(reader.rows)
    sizes = {}
    if frames and reader.frames:
        sizes["frames"] = int(reader.frame_hw.prod(1).sum()) * 3
    if reader.sounds:
        sizes["spectrograms"] = num * int(np.prod(reader.spectrogram_shape)) * 2
    for name, column in reader.columns.items():
        itemsize = torch_dtype(reader, name).itemsize
        sizes[name if column.whole else f"{name}s"] = num * int(np.prod(column.shape)) * itemsize
    return sizes


def open_source(
    reader: ClipReader,
    mode: DataMode,
    device: torch.device,
    workers: int | None = None,
    *,
    frames: bool = True,
) -> tuple[Source, str]:
    """Open the clips of `reader` for training.

    Args:
        reader: The clips.
        mode: `resident`, `stream`, or `auto`: resident where half of the free main memory holds
            them, as all are read into it first; of several processes each has its part of it.
            They stay there, or on the GPU where half of its free memory holds them.
        device: Where the network is.
        workers: Threads that read; None for one for each granted core, at most 8.
        frames: Whether frames are needed.

    Returns:
        The source, and a line that says what was chosen and why.
    """
    threads = reading_threads(workers)
    sizes = resident_bytes(reader, frames)
    total = sum(sizes.values())
    main = torch.device("cpu")
    free = {main: free_memory_bytes() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))}
    if device.type == "cuda":
        free = {device: torch.cuda.mem_get_info(device)[0], **free}
    fits = [place for place, bytes_free in free.items() if total <= bytes_free // 2]
    parts = ", ".join(f"{name.replace('_', ' ')} {_size(size)}" for name, size in sizes.items())
    line = f"{len(reader.rows)} clips: {parts}"
    if mode == "stream" or (mode == "auto" and main not in fits):
        stream = Stream(reader, threads, pin=device.type == "cuda")
        return stream, f"{line}; streamed from the cache"
    place = fits[0] if fits else main
    return Resident(reader, threads, place, frames=frames), f"{line}; resident on {place.type}"


def reading_threads(workers: int | None) -> int:
    """Return how many threads read: as told, or one for each granted core, at most 8."""
    return workers or min(8, granted_cores())


def _size(num_bytes: int) -> str:
    if num_bytes < 1e6:
        return f"{num_bytes / 1e3:.0f} kB"
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
