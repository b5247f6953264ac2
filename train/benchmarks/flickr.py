"""Flickr-SoundNet: 250 pictures with boxes of three annotators (Senocak et al., CVPR 2018).

Two boxes that overlap make full consensus, one alone counts half. The boxes are one XML file per
picture; EZ-VSL and LVS list 249 of the 250.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..score.binarize import Floats
from ..truths.annotated import Annotated, AnnotatedItem, boxes_to_show
from ..truths.annotations import find_file, read_list, read_xml_boxes
from ..truths.boxes import consensus_votes
from ..truths.forms import LOCALIZED
from . import Pair, Truth

FORM = LOCALIZED
GEOMETRY = "elsewhere"

FILE = "flickr_test.csv"
FRAME_PX = 256
"""Side of the frames that the boxes are given in."""


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `flickr_test.csv` and, there or in a folder inside it,
            `<id>.xml` of its pictures.

    Raises:
        InputError: If one is missing or cannot be read.
    """
    path = find_file(annotations, FILE)
    ids = read_list(path)
    boxes = read_xml_boxes(path.parent, ids, FRAME_PX)
    items = tuple(AnnotatedItem(Pair(name, name), "positive", "") for name in boxes.by_clip)
    return Annotated(
        items,
        boxes.by_clip,
        draw_votes,
        show_boxes,
        num_official=len(ids),
        notices=boxes.notices,
        left_out=boxes.left_out,
    )


def draw_votes(boxes_px: Sequence[Floats]) -> Floats:
    """Draw the consensus of the annotators for many clips, `(n, 224, 224)`."""
    return np.stack([consensus_votes(boxes) for boxes in boxes_px])


def show_boxes(boxes_px: Floats) -> Truth:
    """Return the boxes as shares of the sides."""
    return boxes_to_show(boxes_px / FRAME_PX)
