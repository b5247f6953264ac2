"""Synthetic clips: which of the objects in the picture does the map find, and does it listen?

A map of the sounding object can come from looking alone; these scores cannot:

right object: the map's mean is higher in the box that sounds than in a silent one (chance 0.5).
swapped: the same when the frame is given the sound of its silent object: the map has to move.
off-screen, mismatched: a map's peak is higher where the source is in the picture (AUROC).

The headline counts the classes heard in training; the held-out ones are the subset `unheard`.
"""

from __future__ import annotations

from pathlib import Path

from ..truths.forms import Form
from ..truths.world import Synth
from ..truths.world_lists import read_world

FORM = Form(
    {
        "right_object": "right object",
        "swapped_right_object": "swapped",
        "auroc_offscreen": "off-screen",
        "auroc_mismatched": "mismatched",
        "loc_acc_adaptive": "LocAcc",
        "ciou_mean_adaptive": "mean cIoU",
    },
    "loc_acc_adaptive",
    """\
right object: the map is higher on the object that sounds than on the silent one (chance 0.5)
swapped: the same when the frame is given its silent object's sound: the map has to move
off-screen, mismatched: AUROC of the map's peak against sounds of nothing in the picture
LocAcc (cIoU@0.5) and mean cIoU: as many pixels predicted as the sounding object has""",
    percent=False,
    subset_title="{} classes",
)
GEOMETRY = "elsewhere"


def load(annotations: Path) -> Synth:
    """Read the test of a world made by `avpipe synth`.

    Args:
        annotations: Its folder, or a file in it.

    Raises:
        InputError: If a list is missing or cannot be read.
    """
    return read_world(annotations)
