"""VGG-SS: 5,158 clips of VGGSound's test with boxes of what sounds (Chen et al., CVPR 2021).

With the lists of heard and unheard classes beside the boxes, their clips are subsets; `rest` is
the class "singing choir", which neither list has. With `vggsounder.csv` beside them, so are clips
whose class is seen and heard, and the rest by what is judged of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import InputError
from ..truths.annotated import Annotated, AnnotatedItem
from ..truths.annotations import Boxes, find_file, read_json_boxes, read_list, short_of
from ..truths.forms import LOCALIZED
from ..truths.sounder import FILE, read_judged
from ..truths.whole import clips_text
from . import Pair

FORM = LOCALIZED
GEOMETRY = "vggss"

NUM_CLIPS = 5158
LISTS = {"heard": "vggss_heard_test.csv", "unheard": "vggss_unheard_test.csv"}


def load(annotations: Path) -> Annotated:
    """Read the test.

    Args:
        annotations: `vggss.json`, or the folder that holds it.

    Raises:
        InputError: If it is missing or cannot be read.
    """
    path, boxes = read_boxes(annotations)
    lists, notices = _lists(path.parent, boxes)
    test = positives_of(boxes, list(boxes.by_clip), NUM_CLIPS, path)
    return replace(test, lists=lists, notices=(*test.notices, *notices))


def read_boxes(annotations: Path) -> tuple[Path, Boxes]:
    """Read the boxes; return their file too.

    Raises:
        InputError: If it is missing or cannot be read.
    """
    path = annotations if annotations.is_file() else find_file(annotations, "vggss.json")
    return path, read_json_boxes(path)


def positives_of(
    boxes: Boxes,
    ids: Sequence[str],
    num_clips: int,
    path: Path,
) -> Annotated:
    """Return the test of some clips.

    Args:
        boxes: Of all clips.
        ids: The clips.
        num_clips: How many there should be.
        path: The file they are from.

    Raises:
        InputError: If a clip has no boxes.
    """
    require_boxes(path, ids, boxes)
    notices = (*boxes.notices, *short_of(path, len(ids), num_clips, "clips"))
    items = tuple(AnnotatedItem(Pair(name, name), "positive", boxes.labels[name]) for name in ids)
    return Annotated(items, boxes.by_clip, num_official=len(ids), notices=notices)


def require_boxes(path: Path, ids: Sequence[str], boxes: Boxes) -> None:
    """See that all clips of a list have boxes.

    Raises:
        InputError: One has none.
    """
    if absent := [name for name in ids if name not in boxes.by_clip]:
        raise InputError(f"{path}: {absent[0]} is in no entry of vggss.json")


def listed(annotations: Path, name: str, num_clips: int) -> Annotated:
    """Read the test of the clips of a list.

    Raises:
        InputError: If list or boxes are missing or cannot be read.
    """
    boxes_path, path = find_file(annotations, "vggss.json"), find_file(annotations, name)
    ids = read_list(path)
    return positives_of(read_json_boxes(boxes_path, ids), ids, num_clips, path)


def _lists(folder: Path, boxes: Boxes) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Return the subsets whose lists lie beside the boxes, and what none has; and lines about them.

    Clips of a list that have no boxes are told.
    """
    found, notices = dict[str, frozenset[str]](), list[str]()
    for name, file in LISTS.items():
        if (folder / file).is_file():
            ids = read_list(folder / file)
            found[name] = frozenset(ids).intersection(boxes.by_clip)
            if unknown := [own for own in ids if own not in boxes.by_clip]:
                notices.append(f"{folder / file}: {clips_text(unknown)} without boxes, left out")
    if len(found) == len(LISTS):
        found["rest"] = frozenset(boxes.by_clip).difference(*found.values())
    if (folder / FILE).is_file():
        judged, told = read_judged(folder / FILE, boxes.labels)
        found, notices = found | judged, [*notices, *told]
    return found, notices
