"""Boxes of frames: drawn, cut out and resized in a batch; hints that follow them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..nets.geometry import cell_shares
from .features import Cells


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
    """Cut a box from each frame, bring it to a square and mirror some.

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
    where, lengths, flip = (
        torch.from_numpy(values).to(frames.device) for values in (boxes, frame_hw, mirrored)
    )
    if (boxes[:, 2:] == size).all():
        offset = torch.arange(size, device=frames.device)
        mirror = torch.where(flip[:, None], offset.flip(0), offset)
        row = _inside(where[:, :1] + offset, lengths[:, :1])
        column = _inside(where[:, 1:2] + mirror, lengths[:, 1:])
        clip = torch.arange(num, device=frames.device)[:, None, None]
        return frames[clip, row[:, :, None], column[:, None]].float().permute(0, 3, 1, 2)
    num_taps = math.ceil(2 * max(1, boxes[:, 2:].max() / size))
    row, row_weight = _taps(where[:, 0], where[:, 2], size, lengths[:, :1], num_taps)
    column, column_weight = (
        torch.where(flip[:, None, None], values.flip(1), values)
        for values in _taps(where[:, 1], where[:, 3], size, lengths[:, 1:], num_taps)
    )
    lines = frames.transpose(1, 2).float().reshape(num, width, height * 3)
    narrow = _mixed(lines, column, column_weight).view(num, size, height, 3)
    lines = narrow.transpose(1, 2).reshape(num, height, size * 3)
    return _mixed(lines, row, row_weight).view(num, size, size, 3).permute(0, 3, 1, 2)


def _taps(
    start: Tensor, extent: Tensor, size: int, length: Tensor, num_taps: int
) -> tuple[Tensor, Tensor]:
    """Return the lines that each of `size` lines is made of, and their weights, `(B, size, K)`.

    Args:
        start: `(B,)` first line to resample; below 0 it lies in the mirrored border.
        extent: `(B,)` lines to resample.
        size: Lines of the result.
        length: `(B, 1)` lines of each frame.
        num_taps: K, enough for the kernel of the largest extent.
    """
    scale = (extent / size)[:, None]
    reach = scale.clamp(min=1)
    centre = (torch.arange(size, device=start.device) + 0.5) * scale
    first = (centre - reach + 0.5).floor().long()[:, :, None]
    offset = first + torch.arange(num_taps, device=start.device)
    distance = (offset + 0.5 - centre[:, :, None]).abs()
    weights = (1 - distance / reach[:, :, None]).clamp(min=0)
    weights = weights * ((offset >= 0) & (offset < extent[:, None, None]))
    weights = weights / weights.sum(2, keepdim=True)
    return _inside(start[:, None, None] + offset, length[:, :, None]), weights


def _inside(line: Tensor, length: Tensor) -> Tensor:
    """Mirror line numbers into `[0, length)`; what lies a whole frame outside is of weight 0."""
    last = length - 1
    return (last - (last - line.abs()).abs()).clamp(min=0)


def _mixed(lines: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums of lines: `(B, L, D)` and K of them for each result, `(B, size, D)`."""
    num, length, width = lines.shape
    first = length * torch.arange(num, device=lines.device)[:, None, None]
    mixed = F.embedding_bag(
        (index + first).flatten(0, 1),
        lines.view(-1, width),
        mode="sum",
        per_sample_weights=weights.flatten(0, 1),
    )
    return mixed.view(num, -1, width)


def align_hint(
    hint: Tensor,
    boxes: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    frame_hw: NDArray[np.int64],
    how: Literal["roi", "flip", "none"],
    student_cells: NDArray[np.float64] | None = None,
    teacher_cells: Cells = "corners",
) -> Tensor:
    """Let a teacher's map of the whole frame follow the crop that the student sees.

    The cells of a padded convolutional network lie at the top left of equal tiles, those of a
    network of patches in the middle: a mirrored map of the first is not the map of the mirrored
    frame. So both maps are placed by their centres.

    Args:
        hint: `(B, C, h, w)`.
        boxes: `(B, 4)` top, left, height, width of the crops in pixels.
        mirrored: `(B,)` which crops were mirrored.
        frame_hw: `(B, 2)` of the frames.
        how: `roi` cuts the box out, linearly between the centres of cells; `flip` mirrors only;
            `none` leaves it as it is, as the paper does.
        student_cells: `(n,)` centres of the student's cells along one side, as shares of its crop;
            None where they lie as the teacher's do in the frame.
        teacher_cells: Where the teacher's lie, as its hints say.

    Returns:
        `(B, C, h, w)`.
    """
    if how == "none":
        return hint
    where, sizes, flip = (
        torch.from_numpy(values).to(hint.device) for values in (boxes, frame_hw, mirrored)
    )
    axes = []
    for axis, num in ((0, hint.shape[2]), (1, hint.shape[3])):
        cells = torch.from_numpy(cell_shares(teacher_cells, num)).to(hint.device)
        if how == "flip" or student_cells is None:
            at = cells
        else:  # the student's map is averaged over areas, and so are its centres
            shares = torch.from_numpy(student_cells).to(hint.device)[None]
            at = F.adaptive_avg_pool1d(shares, num)[0]
        at = at.expand(len(hint), num)
        if axis == 1:
            at = torch.where(flip[:, None], 1 - at, at)
        if how == "roi":
            at = (where[:, axis, None] + at * where[:, axis + 2, None]) / sizes[:, axis, None]
        axes.append(2 * (at - cells[0]) + 1 / num - 1)  # where grid_sample has the cells
    rows, columns = axes
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, hint.shape[2], -1),
            rows[:, :, None].expand(-1, -1, hint.shape[3]),
        ],
        dim=3,
    ).float()
    return F.grid_sample(hint, grid, padding_mode="border", align_corners=False)
