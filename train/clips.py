"""Which clips a run uses, and how one is read from the cache."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cache.schema import EXTRACT, digest
from ..cache.shard import Shard
from ..cache.store import Cache
from ..errors import InputError
from .recipe import Recipe

FrameSize = Callable[[int, int], tuple[int, int]]
"""From a stored frame's height and width to those it is brought to."""


def select_rows(
    cache: Cache, ids: Sequence[str] | None = None, hold_out: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], list[str]]:
    """Choose the clips to train on.

    Args:
        cache: The cache.
        ids: Only these clips; None for all.
        hold_out: Never these.

    Returns:
        Rows ascending, and notices about ids that the cache does not have.

    Raises:
        InputError: If nothing is left.
    """
    wanted = set(cache.ids) if ids is None else set(ids)
    absent = wanted.difference(cache.ids)
    notices = []
    if absent:
        notices.append(
            f"{len(absent)} of {len(wanted)} ids are not in {cache.path} ({min(absent)!r}, ...)"
        )
    wanted -= set(hold_out or ())
    rows = [row for row, name in zip(cache.rows.tolist(), cache.ids, strict=True) if name in wanted]
    if not rows:
        raise InputError(f"{cache.path} has none of the clips to train on; see `avpipe status`")
    return np.array(rows, np.int64), notices


def data_fingerprint(cache: Cache, rows: NDArray[np.int64]) -> str:
    """Return a digest of the rows and of their shards: the same digest, the same data."""
    shards = {cache.manifest.shard_of(row): 0 for row in rows.tolist()}
    headers = [cache.shard(EXTRACT, number).header for number in shards]
    return digest([[header.fingerprint for header in headers], rows.tolist()])


def check_spectrogram(cache: Cache, rows: NDArray[np.int64], recipe: Recipe) -> None:
    """See that the cache holds what the recipe hears.

    Raises:
        InputError: If it holds another kind of spectrogram.
    """
    shard, _ = cache.locate(EXTRACT, int(rows[0]))
    stored = shard.header.params["spectrogram"]
    if stored != recipe.spectrogram:
        raise InputError(
            f"{cache.path} holds spectrograms {stored}, the recipe hears {recipe.spectrogram}: use "
            f"`--set spectrogram={stored}`, or `avpipe extract --spectrogram {recipe.spectrogram} "
            "--cache` with another cache"
        )


def short_side(size_px: int) -> FrameSize:
    """Shrink to this short side; smaller frames stay as they are."""

    def fit(height: int, width: int) -> tuple[int, int]:
        short = min(height, width)
        if short <= size_px:
            return height, width
        return round(height * size_px / short), round(width * size_px / short)

    return fit


def square(size_px: int) -> FrameSize:
    """Squeeze the whole frame to a square, as every test protocol of the family does."""
    return lambda height, width: (size_px, size_px)


def squeeze(frame: Image.Image, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an RGB frame (bicubic, as the peers do) to `(H, W, 3)` uint8."""
    if frame.size != size_hw[::-1]:
        frame = frame.resize(size_hw[::-1], Image.Resampling.BICUBIC)
    return np.asarray(frame)


class ClipReader:
    """Reads one clip's frame and spectrogram; `read` may run in many threads."""

    def __init__(self, cache: Cache, rows: NDArray[np.int64], frame_size: FrameSize) -> None:
        """Keep where to read; nothing is opened yet."""
        self.cache = cache
        self.rows = rows
        self.frame_size = frame_size

    def locate(self, position: int) -> tuple[Shard, int]:
        """Open the shard of a position among `rows`; for one thread only."""
        return self.cache.locate(EXTRACT, int(self.rows[position]))

    def read(self, shard: Shard, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Return frame `(H, W, 3)` and wide spectrogram `(257, T)`."""
        offsets = shard.column("frame_offset")
        jpeg = shard.span("frame_jpeg", int(offsets[index]), int(offsets[index + 1]))
        with Image.open(io.BytesIO(jpeg.data)) as image:
            size = self.frame_size(image.height, image.width)
            frame = squeeze(image.convert("RGB"), size)
        return frame, shard.item("spectrogram_wide", index)

    def facts(self, name: str) -> NDArray[Any]:
        """Return a small column for all rows, aligned with them."""
        found = (self.locate(position) for position in range(len(self.rows)))
        return np.stack([shard.column(name)[index] for shard, index in found])
