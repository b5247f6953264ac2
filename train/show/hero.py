"""The picture on README's first screen: maps that follow the sound, drawn from synthetic clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...cache.store import Cache
from ...errors import InputError
from ..runs.localizer import Localizer
from ..score.maps import write_whole
from ..truths.right_object import SynthItem
from ..truths.world_lists import read_world
from . import drawing
from .drawing import Panel

_ROWS = ("frame", "its own sound", "the other's sound")


def hero_picture(
    localizer: Localizer, cache: Cache, world: Path, out: Path, *, num_clips: int = 5
) -> Path:
    """Draw the first test clips of a world: the frame, its map, and its map with a swapped sound.

    The clips are not chosen by how well they turn out: they are the first ones of different trained
    classes. A solid box is what sounds, a dashed one what does not.

    Args:
        localizer: A run.
        cache: The world's clips.
        world: The world's folder.
        out: The PNG to write, about 300 kB for five clips.
        num_clips: Columns.

    Raises:
        InputError: If the cache holds no test clip with a swapped sound.
        CacheUnwritableError: If the picture cannot be written.
    """
    test = read_world(world).only(set(cache.ids))
    labels = {one.pair.video: one.label for one in test.items if one.group == "positive"}
    swaps: dict[str, SynthItem] = {}
    for item in test.items:
        if item.group == "swapped" and not item.unheard:
            swaps.setdefault(labels[item.pair.video], item)
    chosen = list(swaps.values())[:num_clips]
    if not chosen:
        raise InputError(f"{cache.path} has no test clip of {world} with a swapped sound")
    rows = np.array([[cache.row_of(name) for name in item.pair] for item in chosen])
    heard, moved = (localizer.maps(cache, rows[:, 0], sounds) for sounds in rows.T)
    limits = (float(min(heard.min(), moved.min())), float(max(heard.max(), moved.max())))
    lines: list[list[Panel]] = [[] for _ in _ROWS]
    for index, item in enumerate(chosen):
        boxes = test.boxes[item.pair.video]
        frame = cache.clip(item.pair.video).frame
        size = (frame.shape[0], frame.shape[1])
        heats = localizer.upsample(np.stack([heard[index], moved[index]]), size)
        for line, heat, target in zip(lines, (None, *heats), (0, 0, item.target or 0), strict=True):
            others = np.delete(boxes, target, axis=0)
            line.append(Panel("", frame, heat, boxes[[target]], others, limits=limits))
    picture = drawing.grid(lines, row_titles=_ROWS, scale=drawing.COSINE)
    write_whole(out, drawing.with_few_colours(picture))
    return out
