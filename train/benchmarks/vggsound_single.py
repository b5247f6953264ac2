"""VGG-SS as AVGN lists and scores it: 5,158 clips of one source (Mo and Tian, CVPR 2023)."""

from __future__ import annotations

from pathlib import Path

from ..extras.pixels import PixelScores
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.annotations import find_file, read_list, short_of
from ..truths.avgn import SOLO
from . import Pair, vggss

FORM = SOLO
GEOMETRY = "vggss"

FILES = ("vggsound_single_test.csv", "avgn_vggsound_single_test.csv")


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `vggss.json` and `vggsound_single_test.csv`.

    Raises:
        InputError: If one is missing or cannot be read, or a clip has no boxes.
    """
    path = find_file(annotations, *FILES)
    _, boxes = vggss.read_boxes(path.parent)
    ids = read_list(path)
    vggss.require_boxes(path, ids, boxes)
    items = tuple(AnnotatedItem(Pair(name, name), "positive", boxes.labels[name]) for name in ids)
    notices = (*boxes.notices, *short_of(path, len(ids), vggss.NUM_CLIPS, "clips"))
    return Annotated(
        items, boxes.by_clip, num_official=len(ids), notices=notices, extra=PixelScores()
    )
