"""From stored bytes to what the network sees and hears, batched on the device.

What varies is drawn on the CPU from the step's generator: a step is the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...stages.spectrogram import FRONT_ENDS
from ..nets.cached import AUDIO, IMAGE
from ..recipe import Recipe
from .batches import Batch
from .colour import change_colours
from .crops import align_hint, area_crops, crop_resize, random_crops
from .features import Cells

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
_UNITS = 1 << 16
"""Of a frame's side, where boxes are cut out of its map and its pixels do not count."""


@dataclass(frozen=True)
class Views:
    """Clips as the network takes them: B clips, view after view, the anchor first.

    Attributes:
        frames: `(V * B, 3, S, S)` float32, normalised; `(0,)` where none are needed.
        spectrograms: `(V * B, 1, F, T)` float32, normalised.
        num_views: V.
        hints: What the anchor should imitate, `(B, ...)` float32, by name.
        labels: `(B,)` pseudo-labels, None if there are none.
        made: `(K, ...)` sounds of no clip, as `spectrograms`; None if there are none.
    """

    frames: Tensor
    spectrograms: Tensor
    num_views: int = 1
    hints: dict[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    made: Tensor | None = None


def training_views(
    batch: Batch,
    recipe: Recipe,
    rng: np.random.Generator,
    device: torch.device,
    student_cells: NDArray[np.float64] | None = None,
    hint_cells: Cells = "corners",
    feature_cells: Cells = "corners",
) -> Views:
    """Draw the views of each clip that the recipe has.

    The anchor is a random crop, mirrored or not, with the centre window of its sound (`time_shift`
    moves it). `augmented` sees the same frame as SimCLR would, and always moves the window, which a
    front-end without margins leaves where it is; `neighbour` is made like the anchor from the frame
    and the sound of the batch's second half. Cached maps are seen whole, mirrored or not, and cut
    out in `augmented`, by where their cells lie (`feature_cells`); cached sounds stay as they are.
    A hint of the frame follows the anchor's crop to where `student_cells` lie, from where its own
    `hint_cells` do (see `align_hint`).
    """
    num = len(batch.rows)
    stored = batch.frames.to(device, non_blocking=True)
    frames, sounds = [], []
    hints = {name: batch.columns[name] for name in recipe.hint_names}
    for view in recipe.view_names:
        part = slice(num, None) if view == "neighbour" else slice(num)
        augmented, crops = view == "augmented", None
        if IMAGE in batch.columns:
            maps = batch.columns[IMAGE][part].to(device, non_blocking=True)
            seen, crops = _view_of_maps(maps, feature_cells, recipe, rng, cut=augmented)
            frames.append(seen)
        elif len(stored):
            seen, crops = _view_of_frames(
                stored[part], batch.frame_hw[part], recipe, rng, simclr=augmented
            )
            frames.append(seen)
        if crops and view == "anchor" and "visual_hint" in hints:
            hint = hints["visual_hint"].to(device, non_blocking=True).float()
            hints["visual_hint"] = align_hint(
                hint, *crops, recipe.hint_align, student_cells, hint_cells
            )
        moves = augmented or recipe.time_shift
        sounds.append(_view_of_sounds(batch, part, recipe, rng if moves else None, device))
    labels = batch.columns.get("label")
    return Views(
        _joined(frames) if frames else stored.new_zeros(0),
        _joined(sounds),
        len(sounds),
        {name: hint.to(device, non_blocking=True).float() for name, hint in hints.items()},
        None if labels is None else labels.to(device, non_blocking=True).long(),
    )


Crops = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]
"""Boxes `(B, 4)`, which are mirrored, and the sizes `(B, 2)` that the boxes are in."""


def _view_of_frames(
    stored: Tensor,
    frame_hw: NDArray[np.int64],
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    simclr: bool,
) -> tuple[Tensor, Crops]:
    """Draw a view of frames, normalised pixels."""
    if simclr:
        boxes = area_crops(frame_hw, rng, recipe.crop_area)
    else:
        boxes = random_crops(frame_hw, recipe.image_size, rng, recipe.crop_pad)
    mirrored = rng.random(len(boxes)) < recipe.flip
    seen = crop_resize(stored, frame_hw, boxes, mirrored, recipe.image_size)
    if simclr:
        seen = 255 * change_colours(seen / 255, rng, recipe.colour, recipe.blur)
    return normalise_frames(seen), (boxes, mirrored, frame_hw)


def _view_of_maps(
    maps: Tensor, cells: Cells, recipe: Recipe, rng: np.random.Generator, *, cut: bool
) -> tuple[Tensor, Crops]:
    """Draw a view of cached maps `(B, C, h, w)`, whatever frames they are of."""
    sides = np.full((len(maps), 2), _UNITS)
    boxes = np.concatenate([np.zeros_like(sides), sides], axis=1)
    if cut:
        boxes = area_crops(sides, rng, recipe.crop_area)
    mirrored = rng.random(len(boxes)) < recipe.flip
    seen = maps.float()
    if cut or mirrored.any():
        seen = align_hint(seen, boxes, mirrored, sides, "roi", None, cells)
    return seen, (boxes, mirrored, sides)


def _view_of_sounds(
    batch: Batch,
    part: slice,
    recipe: Recipe,
    rng: np.random.Generator | None,
    device: torch.device,
) -> Tensor:
    """Draw a view of sounds: a window of their spectrograms, or cached features as they are."""
    if AUDIO in batch.columns:
        return batch.columns[AUDIO][part].to(device, non_blocking=True).float()
    wide = batch.spectrograms[part].to(device, non_blocking=True)
    start = window_starts(batch.valid_cols[part], recipe.spectrogram, rng)
    return hear(wide, start, recipe)


def _joined(views: list[Tensor]) -> Tensor:
    """Put views one behind the other; a single one is not copied."""
    return torch.cat(views) if len(views) > 1 else views[0]


def evaluation_views(batch: Batch, recipe: Recipe, device: torch.device) -> Views:
    """Take the whole frame, already squeezed to a square, and the centre window; or one of them."""
    frames, spectrograms = batch.frames.to(device), batch.spectrograms.to(device)
    if IMAGE in batch.columns:
        frames = batch.columns[IMAGE].to(device).float()
    elif len(frames):
        frames = normalise_frames(frames.permute(0, 3, 1, 2).float())
    if AUDIO in batch.columns:
        spectrograms = batch.columns[AUDIO].to(device).float()
    elif len(spectrograms):
        start = window_starts(batch.valid_cols, recipe.spectrogram, None)
        spectrograms = hear(spectrograms, start, recipe)
    return Views(frames, spectrograms)


def window_starts(
    valid_cols: NDArray[np.int64], kind: str, rng: np.random.Generator | None
) -> NDArray[np.int64]:
    """Return the first column of each clip's window.

    Args:
        valid_cols: `(B, 2)` half-open range of columns that hold real sound.
        kind: Front-end.
        rng: Draws the window inside that range; None for the centre, which is always in the draw:
            its outer columns may reach past the clip's own sound.
    """
    front_end = FRONT_ENDS[kind]
    if rng is None:
        return np.full(len(valid_cols), front_end.margin)
    first = np.minimum(valid_cols[:, 0], front_end.margin)
    last = np.maximum(valid_cols[:, 1] - front_end.num_columns, front_end.margin)
    return rng.integers(first, last + 1)


def normalise_frames(frames: Tensor) -> Tensor:
    """Normalise `(B, 3, S, S)` in [0, 255] by ImageNet's mean and deviation."""
    mean, std = (
        torch.tensor(values, device=frames.device)[:, None, None] * 255
        for values in (IMAGE_MEAN, IMAGE_STD)
    )
    return (frames - mean).div_(std)


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
    return (heard - recipe.spectrogram_mean).div_(recipe.spectrogram_std)
