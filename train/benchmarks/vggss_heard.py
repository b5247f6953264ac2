"""VGG-SS, the 2,564 clips of the 110 classes heard in training (Chen et al., Table 3; EZ-VSL)."""

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
        annotations: The folder that holds `vggss.json` and `vggss_heard_test.csv`.

    Raises:
        InputError: If one is missing or cannot be read.
    """
    return listed(annotations, LISTS["heard"], 2564)
