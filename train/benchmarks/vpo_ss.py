"""VPO-SS: 890 pictures of COCO with a sound of one of their sources, boxed by SSL alignment."""

from __future__ import annotations

from pathlib import Path

from ..truths.annotated import Annotated
from ..truths.forms import LOCALIZED
from ..truths.lists import load_listed

FORM = LOCALIZED
GEOMETRY = "elsewhere"

FILE = "vpo_ss_bbox.json"
NUM_ROWS = 890


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `vpo_ss_bbox.json`, or a file in it.

    Raises:
        InputError: If it is missing, is no such list, or has a row twice.
    """
    return load_listed(annotations, FILE, NUM_ROWS)
