"""With which options `synth` makes a world again, by what its files say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

PLACES = "material.json"
"""Where the material of a composed world lies."""
_FLAGS = {
    "seed": "--seed", "clips": "--clips", "test": "--test", "classes": "--classes",
    "objects": "--objects", "size": "--size", "noise_db": "--noise",
}  # fmt: skip
_PLACES = ("photos", "sounds", "backgrounds", "splits")


def synth_options(parameters: Mapping[str, Any], places: Mapping[str, Any]) -> str:
    """Return the options, as a shell takes them.

    Args:
        parameters: What tells this world from others, as in `world.json`.
        places: Where the material of a composed world lies, as in `PLACES`; else empty.
    """
    is_composed = "material" in parameters
    words: list[str] = []
    for key, flag in _FLAGS.items():
        if key in parameters and not (is_composed and key == "classes"):
            value = parameters[key]
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    if is_composed:
        words += ["--held-out", ",".join(parameters.get("held_out", ())) or "0"]
        words += [
            word for key in _PLACES if key in places for word in (f"--{key}", str(places[key]))
        ]
    return shlex.join(words)
