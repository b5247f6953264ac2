"""Flickr-SoundNet: 250 pictures with boxes of three annotators (Senocak et al., CVPR 2018).

Two boxes that overlap make full consensus, one alone counts half. The boxes are one XML file per
picture; EZ-VSL and LVS list 249 of the 250.
"""

from __future__ import annotations

from pathlib import Path

from ..annotated import Annotated, Item, draw_votes
from ..annotations import find_file, read_list, read_xml_boxes
from . import Pair

FILE = "flickr_test.csv"


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
    boxes = read_xml_boxes(path.parent, ids)
    items = tuple(Item(Pair(name, name), "positive", "") for name in boxes.by_clip)
    return Annotated(items, boxes.by_clip, draw_votes, num_official=len(ids), notices=boxes.notices)
