"""What VGGSounder says of VGG-SS's clips: is the class that is boxed heard, and is it seen?

VGGSounder (Zverev et al., ICCV 2025) labels clips of VGGSound's test again, several labels each,
with `A`, `V` or `AV`. What is heard but not seen cannot be localized, whatever its box says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import InputError
from .annotations import read_rows

FILE = "vggsounder.csv"
SUBSETS = ("seen-and-heard", "heard-only", "seen-only", "no-longer", "static", "not-judged")
_OF_MODALITY = {"AV": "seen-and-heard", "A": "heard-only", "V": "seen-only"}


def read_judged(path: Path, labels: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Sort clips by what is judged of their class.

    Args:
        path: `vggsounder.csv`: video_id, label, modality, static_image and more.
        labels: Class of each clip.

    Returns:
        The clips by subset. `seen-and-heard`, `heard-only` and `seen-only`: the class is judged so.
        `no-longer`: the clip is judged to hold other classes. `not-judged`: it is not in the file.
        `static`, beside these: its picture stands still.

    Raises:
        InputError: The file cannot be read, or a modality is none of A, V and AV.
    """
    found: dict[str, set[str]] = {name: set() for name in SUBSETS}
    judged: set[str] = set()
    for row in read_rows(path, "video_id", "label", "modality", "static_image"):
        clip = row["video_id"]
        if clip not in labels:
            continue
        judged.add(clip)
        if row["static_image"] == "True":
            found["static"].add(clip)
        if row["label"] == labels[clip]:
            if row["modality"] not in _OF_MODALITY:
                raise InputError(f"{path}: modality is {row['modality']!r}, none of A, V, AV")
            found[_OF_MODALITY[row["modality"]]].add(clip)
    found["no-longer"] = judged.difference(*(found[name] for name in _OF_MODALITY.values()))
    found["not-judged"] = set(labels).difference(judged)
    return {name: frozenset(clips) for name, clips in found.items()}
