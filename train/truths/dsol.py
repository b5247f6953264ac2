"""Boxes of MUSIC's frames as DSOL released them (Hu et al., NeurIPS 2020).

A file is `{"<video>/<second>/<frame>.jpg": {"bbox": [{"normbox": [x, y, w, h], "category_id": c,
...}, ...], ...}, ...}`. The boxes are a detector's, cleaned by hand. A frame's clip has the path as
id, with `__` for `/` and without the suffix, which `extract --id-from path` gives it. Frames
without boxes are left out, as DSOL's code does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...reading import parse_json_once, read_regular
from ..score.binarize import Floats
from .annotations import find_file, refuse_twice, short_of, unreadable
from .whole import whole_boxes

CLASSES = {
    1: "cello",
    3: "acoustic_guitar",
    8: "saxophone",
    10: "trumpet",
    11: "violin",
    12: "flute",
    13: "accordion",
}
"""Of DSOL's numbers; the test holds no other."""


class Frames(NamedTuple):
    """What such a file holds.

    Attributes:
        boxes: Of each frame that has some `(k, 4)` x1, y1, x2, y2 in shares of the sides by class.
        left_out: The frames that have none.
        notices: Lines about these, about boxes that are odd, and a file that is not as published.
    """

    boxes: dict[str, dict[str, Floats]]
    left_out: tuple[str, ...]
    notices: tuple[str, ...]


def read_frames(annotations: Path, file: str, num_frames: int) -> Frames:
    """Read such a file.

    Args:
        annotations: The folder, or a file in it.
        file: The file's name; `dsol_` may stand before it.
        num_frames: How many frames the published one has.

    Raises:
        InputError: The file is missing, of another kind, has a frame twice, or has no boxes.
    """
    path = find_file(annotations, file, f"dsol_{file}")
    try:
        entries = parse_json_once(read_regular(path))
        frames = {name: _by_class(entry["bbox"]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not the boxes of MUSIC's frames ({error!r})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    clips = {name: clip_of_frame(name) for name in frames}
    refuse_twice(path, list(clips.values()))
    found = {clips[name]: own for name, own in frames.items() if own}
    if not found:
        raise InputError(f"{path}: none of its {len(frames)} frames has a box")
    whole = {name: np.concatenate(list(own.values())) for name, own in found.items()}
    lines = (*whole_boxes(path.name, whole)[1], *short_of(path, len(frames), num_frames, "frames"))
    bare = tuple(clips[name] for name, own in frames.items() if not own)
    if bare:
        told = f"{path.name}: {len(bare):,} of {len(frames):,} frames have no box, left out"
        lines = (told, *lines)
    return Frames(found, bare, lines)


def clip_of_frame(path: str) -> str:
    """Return the id of a frame's clip."""
    return path.rpartition(".")[0].replace("/", "__")


def _by_class(boxes: list[Any]) -> dict[str, Floats]:
    found: dict[str, list[list[float]]] = {}
    for box in boxes:
        x, y, width, height = (float(value) for value in box["normbox"])
        if not np.isfinite([x, y, width, height]).all():
            raise ValueError(f"{box['normbox']} is not a box")
        found.setdefault(CLASSES[int(box["category_id"])], []).append([x, y, x + width, y + height])
    return {name: np.array(own, np.float64) for name, own in found.items()}
