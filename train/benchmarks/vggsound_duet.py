"""VGGSound duets: two pictures side by side, the sum of their sounds (Mo and Tian, CVPR 2023).

A row of the list names two clips of VGG-SS. The mixture is heard with either picture, and the
pixels of both are counted together, as of one picture twice as wide.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ..extras.pixels import PixelScores
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.annotations import find_file, read_pairs, short_of
from ..truths.avgn import DUET
from . import Pair, mixture, vggss

FORM = DUET
GEOMETRY = "elsewhere"

FILES = ("vggsound_duet_test.csv", "avgn_vggsound_duet_test.csv")
NUM_DUETS = 5158


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `vggss.json` and `vggsound_duet_test.csv`, whose lines
            are `id,class,id,class`.

    Raises:
        InputError: If one is missing or cannot be read, a duet comes twice or is of one clip, or a
            clip has no boxes.
    """
    path = find_file(annotations, *FILES)
    _, boxes = vggss.read_boxes(path.parent)
    duets = read_pairs(path)
    vggss.require_boxes(path, [name for duet in duets for name in duet], boxes)
    for one, other in duets:
        if one == other:
            raise InputError(f"{path}: a duet of {one} with itself")
    items = tuple(
        AnnotatedItem(
            Pair(name, mixture(*duet)), "positive", boxes.labels[name], group=mixture(*duet)
        )
        for duet in duets
        for name in duet
    )
    notices = (*boxes.notices, *short_of(path, len(duets), NUM_DUETS, "duets"))
    return Annotated(
        items, boxes.by_clip, num_official=len(items), notices=notices, extra=PixelScores()
    )
