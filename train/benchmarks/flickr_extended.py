"""Extended Flickr-SoundNet: its 250 pictures, and each with a foreign sound (SLAVC, section 4.1).

The paper counts 42 real, 169 easy and 39 hard negatives. The released list does not tell them
apart, and has no picture with its own sound, so here they are just negative.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import InputError
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.annotations import find_file, read_negatives, short_of
from ..truths.forms import EXTENDED
from . import Pair, flickr

FORM = EXTENDED
GEOMETRY = "elsewhere"

NUM_NEGATIVES = 250


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: As of `flickr`; the folder holds `flickr_test_plus_silent.csv` too.

    Raises:
        InputError: If one is missing or cannot be read, or a clip is not one of the test.
    """
    positives = flickr.load(annotations)
    path = find_file(annotations, "flickr_test_plus_silent.csv")
    pairs = read_negatives(path)
    known = {item.pair.video for item in positives.items}.union(positives.left_out)
    if unknown := [name for pair in pairs for name in pair if name not in known]:
        raise InputError(f"{path}: {unknown[0]} is not in {flickr.FILE}")
    negatives = [AnnotatedItem(Pair(video, audio), "negative", "") for video, audio in pairs]
    notices = *positives.notices, *short_of(path, len(pairs), NUM_NEGATIVES, "negatives")
    return replace(positives, items=(*positives.items, *negatives), notices=notices)
