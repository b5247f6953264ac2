"""VGG-SS, the 2,575 clips of 110 classes not heard in training (EZ-VSL, section 4)."""

from __future__ import annotations

from pathlib import Path

from ..truths.annotated import Annotated
from ..truths.forms import LOCALIZED
from .vggss import LISTS, listed

FORM = LOCALIZED
GEOMETRY = "vggss"


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `vggss.json` and `vggss_unheard_test.csv`.

    Raises:
        InputError: If one is missing or cannot be read.
    """
    return listed(annotations, LISTS["unheard"], 2575)
