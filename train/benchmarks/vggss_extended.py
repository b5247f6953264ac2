"""Extended VGG-SS: VGG-SS, and as many sounds of nothing in the picture (SLAVC, section 4.1).

The list does not say why a sound is of nothing there, but it follows: the clip's own sound is a
real negative; another clip's is hard if that has the same class, else easy, and neither where the
boxes come without classes. That gives the 379, 3,594 and 1,185 pairs of SLAVC's Table 1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import InputError
from ..truths.annotated import Annotated, AnnotatedItem, PairKind
from ..truths.annotations import find_file, read_negatives, short_of
from ..truths.forms import EXTENDED
from . import Pair, vggss

FORM = EXTENDED
GEOMETRY = "vggss"

FILES = ("vggss_test_plus_silent.csv", "plus_silent.csv")
"""The published list, and that of a synthetic world."""
NUM_NEGATIVES = 5158


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: The folder that holds `vggss.json` and `vggss_test_plus_silent.csv`.

    Raises:
        InputError: If one is missing or cannot be read.
    """
    positives = vggss.load(annotations)
    labels = {item.pair.video: item.label for item in positives.items}
    path = find_file(annotations, *FILES)

    def item(video: str, audio: str) -> AnnotatedItem:
        if video == audio:
            return AnnotatedItem(Pair(video, audio), "real", "")
        for name in (video, audio):
            if name not in labels:
                raise InputError(f"{path}: {name} is in no entry of vggss.json")
        kind: PairKind = "hard" if labels[video] == labels[audio] else "easy"
        if not labels[video] or not labels[audio]:
            kind = "negative"
        return AnnotatedItem(Pair(video, audio), kind, labels[audio])

    pairs = read_negatives(path)
    negatives = [item(video, audio) for video, audio in pairs]
    notices = *positives.notices, *short_of(path, len(pairs), NUM_NEGATIVES, "negatives")
    return replace(positives, items=(*positives.items, *negatives), notices=notices, lists={})
