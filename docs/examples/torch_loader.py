"""A cache in a PyTorch DataLoader of one's own: frames and spectrograms, one batch after another.

    python docs/examples/torch_loader.py avcache --workers 2 --start spawn

`Cache` may be sent to workers however they are started: it is pickled by its path, and what a
process has open it maps read-only, so forked and spawned workers read alike.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from avpipe import Cache
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

SIDE_PX = 224
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class Clips(Dataset[tuple[Tensor, Tensor, str]]):
    """The whole frame squashed to a square, the centre 3 s, and the id of every finished clip."""

    def __init__(self, cache: Cache) -> None:
        """Keep the cache and its ids."""
        self.cache = cache
        self.ids = cache.ids

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        """Return frame `(3, 224, 224)`, spectrogram `(1, 257, 276)`, both normalised, and id."""
        clip = self.cache.clip(self.ids[index])
        image = Image.fromarray(clip.frame).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        frame = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        spectrogram = torch.from_numpy(clip.spectrogram.copy())[None] / 12
        return (frame - MEAN) / STD, spectrogram, clip.id


def loader(
    cache: Cache, *, workers: int, start: str, batch_size: int
) -> DataLoader[tuple[Tensor, Tensor, str]]:
    """Return shuffled batches, made by `workers` processes that begin as `start` says."""
    return DataLoader(
        Clips(cache),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context=start if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def main(arguments: list[str] | None = None) -> None:
    """Read a cache once and say how fast that was."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("cache", nargs="?", default="avcache")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--start", choices=["fork", "spawn", "forkserver"], default="spawn")
    options.add_argument("--batch-size", type=int, default=64)
    given = options.parse_args(arguments)
    batches = loader(
        Cache(given.cache), workers=given.workers, start=given.start, batch_size=given.batch_size
    )
    started, num_clips = time.monotonic(), 0
    for frames, spectrograms, ids in batches:
        num_clips += len(ids)
        shapes = f"{tuple(frames.shape)} {tuple(spectrograms.shape)}"
    print(f"{num_clips} clips in {time.monotonic() - started:.1f} s; the last batch: {shapes}")


if __name__ == "__main__":  # without it, spawned workers would start workers of their own
    main()
