"""The true boxes to draw on clips, where somebody knows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..truths.annotations import Boxes, find_file, read_json_boxes

_NOTHING = Boxes({}, {})


class TrueBoxes(NamedTuple):
    """What is known of a clip.

    Attributes:
        label: What sounds; empty if that is not known.
        sounding: `(k, 4)` boxes of what sounds, shares of the sides.
        silent: `(k, 4)` boxes of what does not.
    """

    label: str
    sounding: NDArray[np.float64]
    silent: NDArray[np.float64]


def read_true_boxes(annotations: Path | None) -> Callable[[str], TrueBoxes]:
    """Read the boxes of VGG-SS or of a synthetic world; return what gives those of an id.

    Args:
        annotations: `vggss.json`, or the folder that holds it, with `silent_boxes.json` beside it
            in a synthetic world. None: nothing is known.

    Raises:
        InputError: It is missing or cannot be read.
    """
    sounding = silent = _NOTHING
    if annotations is not None:
        path = annotations if annotations.is_file() else find_file(annotations, "vggss.json")
        sounding = read_json_boxes(path)
        beside = path.with_name("silent_boxes.json")
        silent = read_json_boxes(beside) if beside.is_file() else _NOTHING
    return lambda name: TrueBoxes(
        sounding.labels.get(name, ""), _of(sounding, name), _of(silent, name)
    )


def _of(boxes: Boxes, name: str) -> NDArray[np.float64]:
    return np.clip(boxes.by_clip.get(name, np.zeros((0, 4))), 0, 1)
