"""MUSIC solo as AVGN has it: 2,124 frames of one instrument each (Mo and Tian, CVPR 2023)."""

from __future__ import annotations

from pathlib import Path

from ..extras.pixels import PixelScores
from ..score.protocols import PROTOCOLS, Protocol
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.annotations import short_of
from ..truths.avgn import SOLO, corners_of, lines_about, read_sized_boxes
from . import Pair

FORM = SOLO
GEOMETRY = "elsewhere"

NUM_CLIPS = 2124


def load(annotations: Path) -> Annotated:
    """Read the test, its boxes as they are meant; see `load_by`."""
    return load_by(annotations, PROTOCOLS["avpipe"])


def load_by(annotations: Path, rules: Protocol) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `music_solo.json`, or a file in it.
        rules: How its boxes are read.

    Raises:
        InputError: If it is missing, is no such file, or has a clip twice.
    """
    path, found = read_sized_boxes(annotations, "music_solo.json", {"bbox": "class"})
    items = tuple(
        AnnotatedItem(Pair(name, name), "positive", next(iter(own))) for name, own in found.items()
    )
    own_boxes = [box for own in found.values() for box in own.values()]
    notices = (
        *lines_about(path, found, rules),
        *short_of(path, len(items), NUM_CLIPS, "clips"),
    )
    boxes = {name: corners_of(box, rules)[None] for name, box in zip(found, own_boxes, strict=True)}
    return Annotated(items, boxes, num_official=len(items), notices=notices, extra=PixelScores())
