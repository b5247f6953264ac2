"""From stored bytes to what the network sees and hears, batched on the device.

What varies is drawn on the CPU from the step's generator: a step is the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..stages.spectrogram import FRONT_ENDS
from .data import Batch
from .recipe import Recipe

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Views:
    """Clips as the network takes them.

    Attributes:
        frames: `(B, 3, S, S)` float32, normalised.
        spectrograms: `(B, 1, F, T)` float32, normalised.
    """

    frames: Tensor
    spectrograms: Tensor


def training_views(
    batch: Batch, recipe: Recipe, rng: np.random.Generator, device: torch.device
) -> Views:
    """Draw one view of each clip: random crop, mirroring, and a time shift if the recipe has it."""
    size = recipe.image_size
    boxes = random_crops(batch.frame_hw, size, rng, recipe.crop_pad)
    mirrored = rng.random(len(boxes)) < recipe.flip
    start = window_starts(batch.valid_cols, recipe, rng)
    stored = batch.frames.to(device, non_blocking=True)
    frames = crop_resize(stored, batch.frame_hw, boxes, mirrored, size)
    spectrograms = batch.spectrograms.to(device, non_blocking=True)
    return Views(normalise_frames(frames), hear(spectrograms, start, recipe))


def evaluation_views(batch: Batch, recipe: Recipe, device: torch.device) -> Views:
    """Take the whole frame, already squeezed to a square, and the centre window."""
    frames = batch.frames.to(device).permute(0, 3, 1, 2).float()
    start = window_starts(batch.valid_cols, recipe, None)
    return Views(normalise_frames(frames), hear(batch.spectrograms.to(device), start, recipe))


def random_crops(
    frame_hw: NDArray[np.int64], size: int, rng: np.random.Generator, pad: int = 0
) -> NDArray[np.int64]:
    """Draw a square of `size` on each frame, of its short side if that is smaller.

    Args:
        frame_hw: `(B, 2)` height and width of each frame.
        size: Side of the square.
        rng: Generator.
        pad: How far a square may reach out of the frame.

    Returns:
        `(B, 4)` boxes: top, left, height, width in pixels.
    """
    sides = np.minimum(frame_hw.min(1, keepdims=True), size).repeat(2, axis=1)
    corners = rng.integers(-pad, frame_hw - sides + pad + 1)
    return np.concatenate([corners, sides], axis=1)


def window_starts(
    valid_cols: NDArray[np.int64], recipe: Recipe, rng: np.random.Generator | None
) -> NDArray[np.int64]:
    """Return the first column of each clip's window.

    Args:
        valid_cols: `(B, 2)` half-open range of columns that hold real sound.
        recipe: `time_shift` draws the window inside that range; else it is the centre. The centre
            window is always in the draw: its outer columns may reach past the clip's own sound.
        rng: Generator; None for the centre.
    """
    front_end = FRONT_ENDS[recipe.spectrogram]
    if rng is None or not recipe.time_shift:
        return np.full(len(valid_cols), front_end.margin)
    first = np.minimum(valid_cols[:, 0], front_end.margin)
    last = np.maximum(valid_cols[:, 1] - front_end.num_columns, front_end.margin)
    return rng.integers(first, last + 1)


def crop_resize(
    frames: Tensor,
    frame_hw: NDArray[np.int64],
    boxes: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    size: int,
) -> Tensor:
    """Cut a box from each frame, bring it to a square and mirror some, as two matrix products.

    Linear interpolation with its kernel widened when shrinking, as Pillow's BILINEAR; a box of the
    result's size is copied exactly. Where a box reaches out of its frame the frame is mirrored.

    Args:
        frames: `(B, H, W, 3)` uint8; each frame fills its top left corner.
        frame_hw: `(B, 2)` height and width of each.
        boxes: `(B, 4)` top, left, height, width in pixels.
        mirrored: `(B,)` which results to mirror left to right.
        size: Side of the result.

    Returns:
        `(B, 3, size, size)` float32 in [0, 255], in channels-last order.
    """
    num, height, width, _ = frames.shape
    where, lengths = (torch.from_numpy(a).to(frames.device) for a in (boxes, frame_hw))
    rows = _resampling(where[:, 0], where[:, 2], size, lengths[:, 0], height)
    columns = _resampling(where[:, 1], where[:, 3], size, lengths[:, 1], width)
    flip = torch.from_numpy(mirrored).to(frames.device)[:, None, None]
    columns = torch.where(flip, columns.flip(1), columns)
    shrunk = rows @ frames.reshape(num, height, width * 3).float()
    result = columns[:, None] @ shrunk.view(num, size, width, 3)
    return result.permute(0, 3, 1, 2)


def _resampling(start: Tensor, extent: Tensor, size: int, length: Tensor, longest: int) -> Tensor:
    """Return `(B, size, longest)` weights that resample `start:start + extent` to `size` pixels.

    Args:
        start: `(B,)` first pixel; below 0 it lies in the mirrored border.
        extent: `(B,)` pixels to resample.
        size: Pixels of the result.
        length: `(B,)` pixels of each frame.
        longest: Pixels of the array that holds the frames.
    """
    reach = int(extent.max())
    scale = (extent / size)[:, None, None]
    centre = (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    offset = torch.arange(reach, device=start.device)
    weights = (1 - (offset + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * (offset < extent[:, None, None])
    weights = weights / weights.sum(2, keepdim=True)
    last = length[:, None] - 1
    pixel = (start[:, None] + offset).abs()
    pixel = (last - (last - pixel).abs()).clamp(min=0)  # beyond the box's extent: of weight 0
    result = weights.new_zeros(len(start), size, longest)
    return result.scatter_add_(2, pixel[:, None].expand(-1, size, -1), weights)


def normalise_frames(frames: Tensor) -> Tensor:
    """Normalise `(B, 3, S, S)` in [0, 255] by ImageNet's mean and deviation."""
    mean, std = (
        torch.tensor(values, device=frames.device)[:, None, None] * 255
        for values in (IMAGE_MEAN, IMAGE_STD)
    )
    return (frames - mean) / std


def hear(spectrograms: Tensor, start: NDArray[np.int64], recipe: Recipe) -> Tensor:
    """Cut the window from wide spectrograms, average it over squares, normalise.

    Args:
        spectrograms: `(B, 257, T)`.
        start: `(B,)` first column of each window.
        recipe: `spectrogram`, `audio_pool`, `spectrogram_mean` and `spectrogram_std` are read.

    Returns:
        `(B, 1, 257 // audio_pool, columns // audio_pool)` float32.
    """
    num_columns = FRONT_ENDS[recipe.spectrogram].num_columns
    windows = torch.stack(
        [
            one[:, at : at + num_columns]
            for one, at in zip(spectrograms, start.tolist(), strict=True)
        ]
    )
    heard = windows.float()[:, None]
    if recipe.audio_pool > 1:
        heard = F.avg_pool2d(heard, recipe.audio_pool)
    return (heard - recipe.spectrogram_mean) / recipe.spectrogram_std
