"""Which clips a run uses, and how one is read from the cache."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from ...advice import advice
from ...cache.schema import AUDIO, EXTRACT, HINTS, digest, shard_path
from ...cache.shard import Shard, read_header
from ...cache.state import shard_numbers
from ...cache.store import Cache
from ...errors import InputError
from ..nets.cached import AUDIO as AUDIO_FEATURES
from ..nets.cached import IMAGE
from ..recipe import Recipe
from .columns import BatchColumn
from .spectrograms import compute_spectrogram, front_end_to_compute, valid_columns
from .teacher_columns import finite_item

FrameSize = Callable[[int, int], tuple[int, int]]
"""From a stored frame's height and width to those it is brought to."""

Resize = Callable[[Image.Image, tuple[int, int]], NDArray[np.uint8]]
"""Brings an RGB frame to a height and width, `(H, W, 3)`."""


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
    there = wanted.intersection(cache.ids)
    if not there:
        named = "has no clips" if ids is None else f"has none of the {len(wanted)} clips of --ids"
        raise InputError(f"{cache.path} {named} to train on; see {advice('status', cache.path)}")
    kept = there.difference(hold_out or ())
    if not kept:
        raise InputError(f"all {len(there)} clips to train on are held out or validated on")
    rows = [row for row, name in zip(cache.rows.tolist(), cache.ids, strict=True) if name in kept]
    return np.array(rows, np.int64), notices


def data_fingerprint(cache: Cache, rows: NDArray[np.int64], stages: Sequence[str] = ()) -> str:
    """Return a digest of the rows and of their shards: the same digest, the same data.

    Args:
        cache: The cache.
        rows: Clips.
        stages: What is read beside `extract`.
    """
    shards = {cache.manifest.shard_of(row): 0 for row in rows.tolist()}
    content: list[object] = [_fingerprints(cache, EXTRACT, list(shards)), rows.tolist()]
    for stage in stages:
        there = shard_numbers(cache.path, stage)
        if stage.startswith(f"{HINTS}/"):  # those of other clips are nothing to this run
            there = there.intersection(shards)
        content += [stage, _fingerprints(cache, stage, sorted(there))]
    return digest(content)


def _fingerprints(cache: Cache, stage: str, shards: Sequence[int]) -> list[str]:
    return [read_header(shard_path(cache.path, stage, number)).fingerprint for number in shards]


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


def squeeze_tensor(frame: Image.Image, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize as torchvision's resize of tensors did before 0.17: bicubic, never smoothed first."""
    pixels = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(pixels, size_hw, mode="bicubic", align_corners=False)[0]
    return resized.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def middle_square(frame: Image.Image, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize the short side and cut the middle out, as LVS does at test."""
    side, short = size_hw[0], min(frame.size)
    width, height = (int(side * length / short) for length in frame.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return squeeze(frame, (height, width))[top : top + side, left : left + side]


AT_TEST: dict[str, Resize] = {
    "squash": squeeze, "tensor": squeeze_tensor, "crop": middle_square
}  # fmt: skip
"""How a whole frame becomes a square, by the recipe's `image_test`."""


class ClipReader:
    """Says where clips lie and reads them; what reads may run in many threads.

    Attributes:
        sound_stage: Folder of the cache that sounds are read from.
        frames: Whether frames are read; else their cached features are.
        sounds: Whether sounds are.
    """

    def __init__(
        self,
        cache: Cache,
        rows: NDArray[np.int64],
        frame_size: FrameSize,
        columns: Mapping[str, BatchColumn] | None = None,
        *,
        kind: str | None = None,
        resize: Resize = squeeze,
    ) -> None:
        """Keep where to read.

        Args:
            cache: The cache.
            rows: Clips; positions speak of them.
            frame_size: What frames are brought to.
            columns: Read beside frame and sound, by the name that batches use.
            kind: The front-end that is heard; None for the one whose spectrograms the cache holds.
            resize: How frames are brought to their size.

        Raises:
            InputError: Spectrograms of that kind have to be computed and the sound is not there.
        """
        self.cache = cache
        self.rows = rows
        self.columns = dict(columns or {})
        self._frame_size = frame_size
        self._resize = resize
        self.frames, self.sounds = IMAGE not in self.columns, AUDIO_FEATURES not in self.columns
        hears = kind if self.sounds else None
        self._computed = front_end_to_compute(cache, rows, hears) if hears else None
        self.sound_stage = AUDIO if self._computed else EXTRACT

    def locate(self, position: int, stage: str = EXTRACT) -> tuple[Shard, int]:
        """Open the shard of a position among `rows`; for one thread only."""
        return self.cache.locate(stage, int(self.rows[position]))

    def read_frame(self, shard: Shard, index: int) -> NDArray[np.uint8]:
        """Decode a frame, `(H, W, 3)`."""
        offsets = shard.column("frame_offset")
        jpeg = shard.span("frame_jpeg", int(offsets[index]), int(offsets[index + 1]))
        with Image.open(io.BytesIO(jpeg.data)) as image:
            size = self._frame_size(image.height, image.width)
            return self._resize(image.convert("RGB"), size)

    def read_sound(self, target: NDArray[np.float16], shard: Shard, index: int) -> None:
        """Put a wide spectrogram into `target`, `spectrogram_shape`; the shard of `sound_stage`."""
        if self._computed:
            target[...] = compute_spectrogram(shard, index, self._computed)
        else:
            target[...] = shard.item("spectrogram_wide", index)

    def read_column(self, target: NDArray[Any], name: str, shard: Shard, index: int) -> None:
        """Copy an element of a column into `target`, `(1, ...)`.

        Raises:
            InputError: It holds NaN or infinity.
        """
        column = self.columns[name]
        value = finite_item(self.cache, shard, column.name, index)
        target[...] = column.reduce(value) if column.reduce else value

    @cached_property
    def frame_hw(self) -> NDArray[np.int64]:
        """Height and width that each frame is brought to, `(N, 2)`."""
        stored = self._facts("frame_hw").tolist()
        return np.array([self._frame_size(*hw) for hw in stored], np.int64)

    @cached_property
    def valid_cols(self) -> NDArray[np.int64]:
        """Half-open range of each wide spectrogram's columns that hold real sound, `(N, 2)`."""
        if not self._computed:
            return self._facts("valid_cols").astype(np.int64)
        places = (self.locate(position, AUDIO) for position in range(len(self.rows)))
        return np.array([valid_columns(*place, self._computed) for place in places], np.int64)

    @cached_property
    def spectrogram_shape(self) -> tuple[int, ...]:
        """Shape of a wide spectrogram."""
        if self._computed:
            return self._computed.num_bins, self._computed.wide_columns
        return self.locate(0)[0].header.columns["spectrogram_wide"].shape[1:]

    def _facts(self, name: str) -> NDArray[Any]:
        """Return a small column for all rows, aligned with them."""
        found = (self.locate(position) for position in range(len(self.rows)))
        return np.stack([shard.column(name)[index] for shard, index in found])


def whole_clips(
    cache: Cache,
    rows: NDArray[np.int64],
    recipe: Recipe,
    columns: Mapping[str, BatchColumn] | None = None,
) -> ClipReader:
    """Read clips as a run is tested: the whole frame as a square, what the recipe hears.

    `columns` are those of cached features.

    Raises:
        InputError: The sound has to be computed and is not there.
    """
    return ClipReader(
        cache,
        rows,
        square(recipe.image_size),
        columns,
        kind=recipe.spectrogram,
        resize=AT_TEST[recipe.image_test],
    )
