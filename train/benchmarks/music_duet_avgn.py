"""MUSIC duet as AVGN's files have it: 1,020 frames of two instruments (Mo and Tian, CVPR 2023).

One sound, in which both play, has one map. Its truth is both boxes; protocol `avgn` holds the map
against each box in turn and adds the pixels up, as its code does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..extras.pixels import PixelScores
from ..score.protocols import PROTOCOLS, Protocol
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.annotations import short_of
from ..truths.avgn import DUET, corners_of, lines_about, read_sized_boxes
from . import Pair

FORM = DUET
GEOMETRY = "elsewhere"

NUM_CLIPS = 1020
_KINDS = {"bbox_src1": "class_src1", "bbox_src2": "class_src2"}


def load(annotations: Path) -> Annotated:
    """Read the test, its boxes as they are meant; see `load_by`."""
    return load_by(annotations, PROTOCOLS["avpipe"])


def load_by(annotations: Path, rules: Protocol) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `music_duet.json`, or a file in it.
        rules: How its boxes are read, and whether each is a truth of its own.

    Raises:
        InputError: If it is missing, is no such file, or has a clip twice.
    """
    path, found = read_sized_boxes(annotations, "music_duet.json", _KINDS)
    notices = (
        *lines_about(path, found, rules),
        *short_of(path, len(found), NUM_CLIPS, "clips"),
    )
    if rules.boxes == "corners":
        items = tuple(
            AnnotatedItem(Pair(name, name), "positive", label, f"{name} {label}", name)
            for name, own in found.items()
            for label in own
        )
        boxes = {
            f"{name} {label}": corners_of(box, rules)[None]
            for name, own in found.items()
            for label, box in own.items()
        }
    else:
        items = tuple(
            AnnotatedItem(Pair(name, name), "positive", " and ".join(own))
            for name, own in found.items()
        )
        boxes = {
            name: np.stack([corners_of(box, rules) for box in own.values()])
            for name, own in found.items()
        }
    return Annotated(items, boxes, num_official=len(items), notices=notices, extra=PixelScores())
