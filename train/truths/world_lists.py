"""The lists of a world that `avpipe synth` made: what sounds and what is shown in each clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...advice import quoted
from ...errors import InputError
from ..benchmarks import Pair
from .annotations import flag, read_json_boxes, read_negatives, read_rows, refuse_twice
from .right_object import Group, SynthItem
from .world import Synth

_MOST_DIGITS = 9
_FILES = ("labels.csv", "vggss.json", "plus_silent.csv", "swapped.csv", "silent_boxes.json")


def read_world(annotations: Path) -> Synth:
    """Read the test of a world.

    Args:
        annotations: Its folder, or a file in it.

    Raises:
        InputError: If a list is missing or cannot be read.
    """
    folder = annotations.parent if annotations.is_file() else annotations
    if absent := [name for name in _FILES if not (folder / name).exists()]:
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else {"nothing"}
        if there and there.isdisjoint({*_FILES, "videos"}):
            raise InputError(f"{folder} is not a folder that `avpipe synth` made; name that one")
        raise InputError(
            f"{folder / absent[0]} is missing; `avpipe synth {quoted(folder)}` makes "
            "or completes a world"
        )
    try:
        return _read(folder)
    except KeyError as error:
        raise InputError(f"{folder}: the lists of this world do not agree on {error}") from None


def _read(folder: Path) -> Synth:
    sounding = read_json_boxes(folder / "vggss.json").by_clip
    beside = read_json_boxes(folder / "silent_boxes.json")
    silent = beside.by_clip
    table = folder / "labels.csv"
    rows = read_rows(table, "id", "label", "held_out", "offscreen")
    refuse_twice(table, [row["id"] for row in rows])
    clips = {row["id"]: row for row in rows}
    unheard_of = {name: flag(table, row, "held_out") for name, row in clips.items()}
    offscreen = {name for name, row in clips.items() if flag(table, row, "offscreen")}
    if both := offscreen.intersection(sounding):
        raise KeyError(min(both))
    boxes = {
        name: np.concatenate([sounding.get(name, np.zeros((0, 4))), own])
        for name, own in silent.items()
    }

    def item(group: Group, video: str, audio: str, target: int | None) -> SynthItem:
        unheard = unheard_of[video]
        if target is not None and target >= len(boxes[video]):
            raise KeyError(video)
        return SynthItem(group, Pair(video, audio), clips[audio]["label"], unheard, target)

    items = [item("positive", name, name, 0) for name in sounding]
    for video, audio in read_negatives(folder / "plus_silent.csv"):
        group: Group = "offscreen" if video == audio else "mismatched"
        items.append(item(group, video, audio, None))
    swaps = read_rows(folder / "swapped.csv", "video", "audio", "silent")
    refuse_twice(folder / "swapped.csv", [" ".join(row.values()) for row in swaps])
    for row in swaps:
        if not row["silent"].isdecimal() or len(row["silent"]) > _MOST_DIGITS:
            said = row["silent"][:40]
            raise InputError(f"{folder / 'swapped.csv'}: silent is {said!r}, no number of a box")
        target = len(sounding[row["video"]]) + int(row["silent"])
        items.append(item("swapped", row["video"], row["audio"], target))
    shown = {name: frozenset(text.split()) for name, text in beside.labels.items()}
    return Synth(tuple(items), boxes, shown)
