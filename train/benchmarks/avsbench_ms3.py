"""AVSBench MS3: five frames of each of 64 videos of several sources (Zhou et al., ECCV 2022)."""

from __future__ import annotations

from pathlib import Path

from ..truths.annotated import Annotated
from ..truths.frames import SEGMENTED, load_frames

FORM = SEGMENTED
GEOMETRY = "elsewhere"

NUM_VIDEOS = 64


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `ms3_meta_data.csv` and `gt_masks`, or `ms3_box.json`.

    Raises:
        InputError: If neither masks nor boxes are there, or a file cannot be read.
    """
    return load_frames(annotations, "ms3", NUM_VIDEOS)
