"""MUSIC solo as DSOL has it: frames of 27 videos of one instrument each (Hu et al., NeurIPS 2020).

The pixels above a tenth of the map's peak are predicted; sound promotion (Electronics 2023) prints
CIoU@.3 and AUC of this in its Tables 1 and 2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..extras.peaks import Peaks
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.dsol import read_frames
from ..truths.forms import Form
from . import Pair

FORM = Form(
    {
        "peak_30": "CIoU@.3",
        "peak_50": "CIoU@.5",
        "peak_auc": "AUC",
        "loc_acc_adaptive": "adaptive",
        "auc_adaptive": "AUC adapt.",
    },
    "peak_30",
    """\
CIoU@.3, CIoU@.5: share of frames with that cIoU, the pixels above a tenth of the map's peak being
predicted; AUC: area under that share over thresholds 0 to 1. adaptive: LocAcc (cIoU@0.5), as many
pixels predicted as the truth has. Percent.""",
)
GEOMETRY = "elsewhere"

FILE = "solotest.json"
NUM_FRAMES = 13472


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `solotest.json`, or a file in it.

    Raises:
        InputError: If it is missing, is no such file, or has a frame twice.
    """
    frames, left_out, notices = read_frames(annotations, FILE, NUM_FRAMES)
    items = tuple(
        AnnotatedItem(Pair(name, name), "positive", " and ".join(own))
        for name, own in frames.items()
    )
    boxes = {name: np.concatenate(list(own.values())) for name, own in frames.items()}
    return Annotated(
        items,
        boxes,
        num_official=len(items),
        notices=notices,
        left_out=left_out,
        extra=Peaks(),
    )
