"""MUSIC duet as DSOL has it: frames of 16 videos of two instruments (Hu et al., NeurIPS 2020).

A frame has a map for each class, made with a sound of that class alone: that of the first frame of
it, by name, in MUSIC solo. `extras.class_maps` says how they are scored.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ..extras.class_maps import ClassMaps
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.dsol import CLASSES, read_frames
from ..truths.forms import Form
from . import Pair, music_solo

FORM = Form(
    {
        "duet_30": "CIoU@.3",
        "duet_50": "CIoU@.5",
        "duet_auc": "AUC",
        "nsa": "NSA",
        "loc_acc_adaptive": "adaptive",
        "ap_adaptive": "AP adapt.",
    },
    "duet_30",
    """\
CIoU@.3, CIoU@.5: share of frames whose sounding classes have that cIoU in the mean, the maps of all
classes competing and the pixels above a fifth of a class's peak being predicted; AUC: area under
that share. NSA: how much of the maps of silent classes is at most 0.2. adaptive: LocAcc (cIoU@0.5)
of each class that sounds, as many pixels predicted as it has; AP: with silent ones. Percent.""",
)
GEOMETRY = "elsewhere"

FILE = "duettest.json"
NUM_FRAMES = 11512


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `duettest.json` and `solotest.json`, or a file in it.

    Raises:
        InputError: If one is missing, is no such file, has a frame twice, or a class no solo.
    """
    frames, left_out, notices = read_frames(annotations, FILE, NUM_FRAMES)
    solos = read_frames(annotations, music_solo.FILE, music_solo.NUM_FRAMES).boxes
    sounds: dict[str, str] = {}
    for name in sorted(solos):
        for label in solos[name]:
            sounds.setdefault(label, name)
    if silent := [label for label in CLASSES.values() if label not in sounds]:
        raise InputError(f"{annotations}: {music_solo.FILE} has no frame of {silent[0]}")
    items = tuple(
        AnnotatedItem(
            Pair(name, sounds[label]),
            "positive" if label in own else "negative",
            label,
            f"{name} {label}",
            name,
        )
        for name, own in frames.items()
        for label in CLASSES.values()
    )
    boxes = {f"{name} {label}": box for name, own in frames.items() for label, box in own.items()}
    official = sum(item.kind == "positive" for item in items)
    return Annotated(
        items,
        boxes,
        num_official=official,
        notices=notices,
        left_out=left_out,
        extra=ClassMaps(),
    )
