"""Boxes of frames: drawn, cut out and resized in a batch; hints that follow them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


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


def area_crops(
    frame_hw: NDArray[np.int64], rng: np.random.Generator, least_area: float
) -> NDArray[np.int64]:
    """Draw a box on each frame, of random area and of a shape from 3:4 to 4:3 (SimCLR).

    Args:
        frame_hw: `(B, 2)` height and width of each frame.
        rng: Generator.
        least_area: Smallest share of the frame; the largest is all of it.

    Returns:
        `(B, 4)` boxes: top, left, height, width in pixels, cut to the frame.
    """
    num = len(frame_hw)
    area = frame_hw.prod(1) * rng.uniform(least_area, 1, num)
    shape = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), num))
    wanted = np.stack([np.sqrt(area / shape), np.sqrt(area * shape)], axis=1)
    sides = np.clip(wanted.round().astype(np.int64), 1, frame_hw)
    corners = rng.integers(0, frame_hw - sides + 1)
    return np.concatenate([corners, sides], axis=1)


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
    # one wide product; a product for every row, 3 wide, is 16 times slower on a CPU
    wide = shrunk.view(num, size, width, 3).transpose(1, 2).reshape(num, width, size * 3)
    result = (columns @ wide).view(num, size, size, 3).permute(0, 3, 2, 1)
    return result.contiguous(memory_format=torch.channels_last)


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


def align_hint(
    hint: Tensor,
    boxes: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    frame_hw: NDArray[np.int64],
    how: Literal["roi", "flip", "none"],
) -> Tensor:
    """Let a teacher's map of the whole frame follow the crop that the student sees.

    Args:
        hint: `(B, C, h, w)`.
        boxes: `(B, 4)` top, left, height, width of the crops in pixels.
        mirrored: `(B,)` which crops were mirrored.
        frame_hw: `(B, 2)` of the frames.
        how: `roi` cuts the box out, linearly between the centres of cells; `flip` mirrors only;
            `none` leaves it as it is, as the paper does.

    Returns:
        `(B, C, h, w)`.
    """
    if how == "none":
        return hint
    where, sizes, flip = (
        torch.from_numpy(values).to(hint.device) for values in (boxes, frame_hw, mirrored)
    )
    if how == "flip":
        return torch.where(flip[:, None, None, None], hint.flip(3), hint)
    axes = []
    for axis, cells in ((0, hint.shape[2]), (1, hint.shape[3])):
        centre = (torch.arange(cells, device=hint.device) + 0.5) / cells
        at = centre.expand(len(hint), cells)
        if axis == 1:
            at = torch.where(flip[:, None], 1 - at, at)
        pixel = where[:, axis, None] + at * where[:, axis + 2, None]
        axes.append(2 * pixel / sizes[:, axis, None] - 1)
    rows, columns = axes
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, hint.shape[2], -1),
            rows[:, :, None].expand(-1, -1, hint.shape[3]),
        ],
        dim=3,
    ).float()
    return F.grid_sample(hint, grid, padding_mode="border", align_corners=False)
