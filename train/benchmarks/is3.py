"""IS3: 3,240 composed pictures of two sources, with the sound of either (Senocak et al., 2023).

The two rows of a picture are `a_b_<n>_a` and `a_b_<n>_b`: their names agree up to the last `_`.
IIoU and IAUC count the worse of both, so a map that does not follow the sound gains nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..extras.groups import Groups
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.annotations import find_file, short_of
from ..truths.forms import Form
from ..truths.lists import draw_px, read_listed_boxes, show_px
from ..truths.whole import clips_text
from . import Pair

FORM = Form(
    {
        "loc_acc": "cIoU@.5",
        "auc": "AUC",
        "iiou": "IIoU",
        "iauc": "IAUC",
        "loc_acc_adaptive": "cIoU adap.",
        "auc_adaptive": "AUC adap.",
        "iiou_adaptive": "IIoU adap.",
        "iauc_adaptive": "IAUC adap.",
    },
    "loc_acc",
    """\
cIoU@.5: share of sounds whose source is found with a cIoU of 0.5 or more, which is LocAcc; AUC:
area under that share over thresholds 0 to 1. IIoU, IAUC: the same of pictures, each with the worse
of its two sounds. The upper half of the pixels is predicted; adap.: as many as the source has.
Percent.""",
)
GEOMETRY = "elsewhere"

FILES = ("synthetic3240_bbox.json", "IS3_annotation.json")
NUM_ROWS = 6480


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `synthetic3240_bbox.json`, or a file in it.

    Raises:
        InputError: If it is missing, is no such list, or has a row twice.
    """
    path = find_file(annotations, *FILES)
    boxes = read_listed_boxes(path)
    items = tuple(
        AnnotatedItem(Pair(name, name), "positive", name.rpartition("_")[2], group=_picture(name))
        for name in boxes.by_clip
    )
    sizes = Counter(item.group for item in items)
    notices = (*boxes.notices, *short_of(path, len(items), NUM_ROWS, "rows"))
    if alone := [name for name, size in sizes.items() if size != 2]:
        notices += (f"{path.name}: {clips_text(alone)} without exactly two sounds of a picture",)
    return Annotated(
        items,
        boxes.by_clip,
        draw_px,
        show_px,
        num_official=len(items),
        notices=notices,
        extra=Groups(sizes),
    )


def _picture(name: str) -> str:
    """Return the picture of a row, which both its rows share."""
    return name.rpartition("_")[0] or name
