"""Lists of pictures with sounds, as SSL alignment released those of IS3, VPO and AVSBench.

A file is `[{"image": path, "audio": path, "gt_box": [x1, y1, x2, y2]}, ...]`, a box a row, in
pixels of a picture of 224 x 224. The paths are those of its authors' disks: a clip is known by the
stem of its picture, which is that of its sound too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import InputError
from ...reading import parse_json, read_regular
from ..benchmarks import SIZE_PX, Pair, Truth
from ..score.binarize import Bools, Floats
from .annotated import Annotated, AnnotatedItem, boxes_to_show
from .annotations import Boxes, find_file, refuse_twice, short_of, unreadable
from .whole import whole_boxes


def read_listed_boxes(path: Path) -> Boxes:
    """Read such a list.

    Raises:
        InputError: It cannot be read, is none, or has a clip twice.
    """
    try:
        rows = parse_json(read_regular(path))
        names = [clip_of(str(row["image"])) for row in rows]
        if any(isinstance(row["gt_box"], str) for row in rows):
            raise InputError(f"{path} names masks, not boxes; name the list with boxes")
        boxes = [np.asarray(row["gt_box"], np.float64).reshape(1, 4) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not a list of pictures with a box each ({error!r})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not names:
        raise InputError(f"{path} is empty")
    refuse_twice(path, names)
    whole, lines = whole_boxes(path.name, dict(zip(names, boxes, strict=True)), SIZE_PX)
    return Boxes(whole, dict.fromkeys(names, ""), lines)


def clip_of(image: str) -> str:
    """Return the id of a picture's clip: its stem; AVSBench's `<v>.mp4_1.png` is `<v>_1`."""
    return PurePosixPath(image).stem.replace(".mp4_", "_")


def draw_px(boxes_px: Sequence[Floats]) -> Bools:
    """Draw boxes in pixels of the map, truncated, for many clips: `(n, 224, 224)`."""
    masks = np.zeros((len(boxes_px), SIZE_PX, SIZE_PX), bool)
    for mask, boxes in zip(masks, boxes_px, strict=True):
        corners = np.clip(boxes, 0, SIZE_PX).astype(np.int64)
        for x1, y1, x2, y2 in corners.tolist():
            mask[y1:y2, x1:x2] = True
    return masks


def show_px(boxes_px: Floats) -> Truth:
    """Return the boxes as shares of the sides."""
    return boxes_to_show(boxes_px / SIZE_PX)


def load_listed(annotations: Path, file: str, num_rows: int) -> Annotated:
    """Return the test of such a list, each row alone.

    Args:
        annotations: Its folder, or a file in it.
        file: The list's name.
        num_rows: How many rows the published one has.

    Raises:
        InputError: If it is missing, is no such list, or has a row twice.
    """
    path = find_file(annotations, file)
    boxes = read_listed_boxes(path)
    items = tuple(AnnotatedItem(Pair(name, name), "positive", "") for name in boxes.by_clip)
    notices = (*boxes.notices, *short_of(path, len(items), num_rows, "rows"))
    return Annotated(
        items, boxes.by_clip, draw_px, show_px, num_official=len(items), notices=notices
    )
