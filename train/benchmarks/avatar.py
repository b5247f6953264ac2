"""AVATAR: frames of videos with polygons of what sounds, and frames whose sound is off-screen.

`metadata/<video>/<frame>.json` holds `original_width`, `original_height` and `annotations`, each
with a `task`, the scenario, and `segmentation`, polygons of corners x, y, x, y, ... in pixels. The
clip of a frame is `<video>_<frame>`. A frame whose annotations are all `Off-Screen` has no source
in the picture: its score is a true-negative rate (`evaluate --negatives own`). Scenarios are
subsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...reading import parse_json, read_regular
from ..score.binarize import Bools
from ..truths.annotated import Annotated, AnnotatedItem, PairKind
from ..truths.forms import EXTENDED
from ..truths.masks import draw_masks, show_mask
from ..truths.polygons import fill, leaves, shrink
from ..truths.whole import clips_text
from . import Pair

FORM = EXTENDED
GEOMETRY = "elsewhere"

OFF_SCREEN = "Off-Screen"
_MOST_PX = 1 << 26


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `metadata/`, or that folder itself.

    Raises:
        InputError: It holds no such files, or one cannot be read.
    """
    folder = annotations / "metadata" if (annotations / "metadata").is_dir() else annotations
    paths = sorted(folder.glob("*/*.json"))
    if not paths:
        raise InputError(
            f"{folder} has no <video>/<frame>.json; --annotations names the folder of AVATAR's "
            "metadata"
        )
    items, masks = dict[str, AnnotatedItem](), dict[str, NDArray[Any]]()
    lists, outside = dict[str, set[str]](), list[str]()
    for path in paths:
        name = f"{path.parent.name}_{path.stem}"
        if name in items:
            raise InputError(f"{path}: another frame is {name} too")
        tasks, mask, inside = read_frame(path)
        if not inside:
            outside.append(name)
        kind: PairKind = "negative" if tasks == {OFF_SCREEN} else "positive"
        items[name] = AnnotatedItem(Pair(name, name), kind, "")
        if kind == "positive":
            masks[name] = mask
        for task in tasks - {OFF_SCREEN}:
            lists.setdefault(task, set()).add(name)
    return Annotated(
        tuple(items.values()),
        masks,
        draw_masks,
        show_mask,
        num_official=len(masks),
        lists={task: frozenset(names) for task, names in sorted(lists.items())},
        notices=_odd(folder, masks, outside),
    )


def _odd(folder: Path, masks: Mapping[str, Bools], outside: Sequence[str]) -> tuple[str, ...]:
    """Return lines about frames whose polygons leave them, or cover nothing."""
    lines = []
    if outside:
        lines.append(
            f"{folder}: {clips_text(outside)} with polygons out of the frame, clipped to it"
        )
    if names := [name for name, mask in masks.items() if not mask.any()]:
        lines.append(f"{folder}: {clips_text(names)} whose polygons cover nothing: cIoU is 0 there")
    return tuple(lines)


def read_frame(path: Path) -> tuple[set[str], Bools, bool]:
    """Read a frame's scenarios, what sounds in it, `(224, 224)`, and whether that lies inside it.

    Raises:
        InputError: It cannot be read, or is not a frame of AVATAR.
    """
    try:
        record = parse_json(read_regular(path))
        size_hw = int(record["original_height"]), int(record["original_width"])
        found = [_annotation(entry) for entry in record["annotations"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not a frame of AVATAR ({error!r})") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if not found:
        raise InputError(f"{path}: a frame without annotations")
    if min(size_hw) < 1 or size_hw[0] * size_hw[1] > _MOST_PX:
        raise InputError(f"{path}: a frame of {size_hw[1]} x {size_hw[0]} pixels")
    polygons = [own for task, shapes in found if task != OFF_SCREEN for own in shapes]
    inside = not any(leaves(corners, size_hw) for corners in polygons)
    return {task for task, _ in found}, shrink(fill(polygons, size_hw)), inside


def _annotation(entry: Mapping[str, Any]) -> tuple[str, list[list[float]]]:
    """Return an annotation's scenario and polygons."""
    shapes = [[float(value) for value in corners] for corners in entry.get("segmentation") or []]
    for corners in shapes:
        far = not (np.abs(corners) < _MOST_PX).all()  # Pillow draws it wrong, or not at all
        if len(corners) < 6 or len(corners) % 2 or far:
            raise ValueError(f"a polygon of {len(corners)} numbers{', one of them far' * far}")
    return str(entry["task"]), shapes
