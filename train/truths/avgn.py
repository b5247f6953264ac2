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
from ...reading import parse_json
from ..score.binarize import Floats
from ..score.protocols import Protocol
from .annotations import find_file, refuse_twice, unreadable
from .forms import Form

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
        The file; for each clip its boxes `(4,)` x, y, width, height by class. Two boxes of a class
        do not occur.

    Raises:
        InputError: The file is missing, of another kind, or has a clip twice.
    """
    path = find_file(annotations, file, f"avgn_{file}")
    try:
        entries = parse_json(path.read_bytes())
        names = [str(entry["file"]) for entry in entries]
        found = [
            {str(entry[label]): _box(entry[box]) for box, label in kinds.items()}
            for entry in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not {file} of AVGN ({error!r})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    refuse_twice(path, names)
    return path, dict(zip(names, found, strict=True))


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


def lost_line(path: Path, boxes: Iterable[Floats], rules: Protocol) -> str:
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
