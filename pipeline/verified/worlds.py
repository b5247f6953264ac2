"""Worlds of `synth`, as `verify WORLD` knows them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...reading import parse_json, read_regular
from ...stages.synth.again import PLACES, synth_options
from .summed import SummedKind

LISTS = (
    "train.txt", "test.txt", "labels.csv", "vggss.json", "silent_boxes.json", "plus_silent.csv",
    "swapped.csv",
)  # fmt: skip
"""Written once all clips are there."""


def is_world(folder: Path) -> bool:
    """Whether a folder holds a synthetic world, or what is left of one."""
    return WORLDS.holds(folder) or all((folder / name).exists() for name in LISTS[2:])


def _options(world: Path, stamp: Mapping[str, Any]) -> str:
    """Return what `synth` was given."""
    places: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        places = parse_json(read_regular(world / PLACES))
    lost = "  # and its --photos, --sounds, --backgrounds"
    return synth_options(stamp, places) + (lost if "material" in stamp and not places else "")


def _is_finished(world: Path, stamp: Mapping[str, Any]) -> bool:
    return any((world / name).exists() for name in LISTS)


WORLDS = SummedKind("synth", "world.json", _options, _is_finished)
