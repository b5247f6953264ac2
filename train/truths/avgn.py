"""What the released files of AVGN hold (Mo and Tian, CVPR 2023), which T-VSL and others share.

The boxes of MUSIC are x, y, width, height in shares of the sides: read so none leaves its frame,
and they are DSOL's. AVGN's code reads them as x1, y1, x2, y2, and many become empty. Both readings
are here, the second for protocol `avgn` alone; either says how many boxes that one loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...reading import parse_json, read_regular
from ..score.binarize import Floats
from ..score.protocols import Protocol
from .annotations import find_file, refuse_twice, unreadable
from .forms import Form
from .whole import whole_boxes

LEGEND = """\
CAP: average precision of confidences, a source being found from a cIoU of 0.3 on. PIAP: average
precision of pixels. CIoU@.3, CIoU@.5: share with that cIoU; AUC: area under that share. The upper
half of the map's pixels is predicted; adaptive: as many pixels as the truth has. Percent.{}"""
_COLUMNS = {
    "cap": "CAP",
    "piap": "PIAP",
    "joint_30": "CIoU@.3",
    "joint_50": "CIoU@.5",
    "joint_auc": "AUC",
    "loc_acc_adaptive": "adaptive",
}
SOLO = Form(_COLUMNS, "joint_30", LEGEND.format(""))
DUET = Form(
    _COLUMNS,
    "joint_30",
    LEGEND.format("\nBut for the last, pixels of both sources of a duet are counted together."),
)


def read_sized_boxes(
    annotations: Path, file: str, kinds: Mapping[str, str]
) -> tuple[Path, dict[str, dict[str, Floats]]]:
    """Read boxes of instruments.

    Args:
        annotations: The folder, or a file in it.
        file: The file's name; `avgn_` may stand before it.
        kinds: The keys of an entry's boxes, and those of their classes.

    Returns:
        The file; for each clip its boxes `(4,)` x, y, width, height by class.

    Raises:
        InputError: The file is missing, of another kind, or has a clip twice, or a clip two boxes
            of a class.
    """
    path = find_file(annotations, file, f"avgn_{file}")
    try:
        entries = parse_json(read_regular(path))
        names = [str(entry["file"]) for entry in entries]
        found = [_by_class(entry, kinds) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not {file} of AVGN ({error!r})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not names:
        raise InputError(f"{path} is empty")
    refuse_twice(path, names)
    return path, dict(zip(names, found, strict=True))


def _by_class(entry: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Floats]:
    found = {str(entry[label]): _box(entry[box]) for box, label in kinds.items()}
    if len(found) < len(kinds):
        raise ValueError(f"{entry['file']} has {next(iter(found))} twice")
    return found


def _box(values: Any) -> Floats:
    box = np.asarray(values, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"{values} is not a box")
    return box


def corners_of(box: Floats, rules: Protocol) -> Floats:
    """Return a box `(4,)` of such a file as x1, y1, x2, y2, as a protocol reads it."""
    if rules.boxes == "corners":
        return box
    return np.concatenate([box[:2], box[:2] + box[2:]])


def lines_about(
    path: Path, found: Mapping[str, Mapping[str, Floats]], rules: Protocol
) -> tuple[str, ...]:
    """Say what is odd about boxes as a protocol reads them, and how many the other reading loses.

    Args:
        path: Their file.
        found: As `read_sized_boxes` returns them.
        rules: The protocol.
    """
    lost = _lost_line(path, [box for own in found.values() for box in own.values()], rules)
    if rules.boxes == "corners":
        return (lost,)
    read = {n: np.stack([corners_of(b, rules) for b in own.values()]) for n, own in found.items()}
    return (lost, *whole_boxes(path.name, read)[1])


def _lost_line(path: Path, boxes: Iterable[Floats], rules: Protocol) -> str:
    """Say how many boxes have no area when they are read as corners."""
    rows = np.stack(list(boxes))
    lost = int(((rows[:, 2] <= rows[:, 0]) | (rows[:, 3] <= rows[:, 1])).sum())
    line = f"{lost:,} of {len(rows):,} have no area"
    if rules.boxes == "corners":
        return (
            f"{path.name}: its boxes are x, y, width, height, and read as corners, as AVGN's code "
            f"does: {line}"
        )
    return (
        f"{path.name}: its boxes are x, y, width, height; read as corners, as protocol avgn does, "
        f"{line}"
    )
