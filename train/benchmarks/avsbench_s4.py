"""AVSBench S4: five frames of each of 740 videos of one source (Zhou et al., ECCV 2022)."""

from __future__ import annotations

from pathlib import Path

from ..truths.annotated import Annotated
from ..truths.frames import SEGMENTED, load_frames

FORM = SEGMENTED
GEOMETRY = "elsewhere"

NUM_VIDEOS = 740


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `s4_meta_data.csv` and `gt_masks`, or `s4_box.json`.

    Raises:
        InputError: If neither masks nor boxes are there, or a file cannot be read.
    """
    return load_frames(annotations, "s4", NUM_VIDEOS)
