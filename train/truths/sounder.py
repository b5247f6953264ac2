"""What VGGSounder says of VGG-SS's clips: is the class that is boxed heard, and is it seen?

VGGSounder (Zverev et al., ICCV 2025) labels clips of VGGSound's test again, several labels each,
with `A`, `V` or `AV`. What is heard but not seen cannot be localized, whatever its box says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import InputError
from .annotations import read_rows, refuse_twice

FILE = "vggsounder.csv"
SUBSETS = ("seen-and-heard", "heard-only", "seen-only", "no-longer", "static", "not-judged")
_FLAGS = ("True", "False")
_OF_MODALITY = {"AV": "seen-and-heard", "A": "heard-only", "V": "seen-only"}


def read_judged(
    path: Path, labels: Mapping[str, str]
) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Sort clips by what is judged of their class.

    Args:
        path: `vggsounder.csv`: video_id, label, modality, static_image and more.
        labels: Class of each clip.

    Returns:
        The clips by subset. `seen-and-heard`, `heard-only` and `seen-only`: the class is judged so.
        `no-longer`: the clip is judged to hold other classes. `not-judged`: it is not in the file.
        `static`, beside these: its picture stands still. And a line
        where the file does not know classes that clips have.

    Raises:
        InputError: The file cannot be read, a flag or a modality is none, a clip has a label twice,
            or the file is of other clips.
    """
    found: dict[str, set[str]] = {name: set() for name in SUBSETS}
    judged: set[str] = set()
    rows = read_rows(path, "video_id", "label", "modality", "static_image")
    refuse_twice(path, [f"{row['label']} of {row['video_id']}" for row in rows])
    for row in rows:
        clip = row["video_id"]
        if clip not in labels:
            continue
        judged.add(clip)
        if row["static_image"] not in _FLAGS:
            raise InputError(f"{path}: static_image is {row['static_image']!r}, not True or False")
        if row["static_image"] == "True":
            found["static"].add(clip)
        if row["label"] == labels[clip]:
            if row["modality"] not in _OF_MODALITY:
                raise InputError(f"{path}: modality is {row['modality']!r}, none of A, V, AV")
            found[_OF_MODALITY[row["modality"]]].add(clip)
    found["no-longer"] = judged.difference(*(found[name] for name in _OF_MODALITY.values()))
    found["not-judged"] = set(labels).difference(judged)
    if not judged:
        raise InputError(f"{path} judges none of the {len(labels)} clips that have boxes")
    known = {row["label"] for row in rows}
    odd = sorted({labels[clip] for clip in judged}.difference(known))
    told = [f"{path}: {len(odd)} classes that it does not know ({odd[0]}, ...)"] if odd else []
    return {name: frozenset(clips) for name, clips in found.items()}, told
