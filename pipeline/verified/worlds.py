"""What `verify WORLD` says of what `synth` made: damaged files, and what makes them again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ...reading import parse_json
from ...stages.synth.sums import SUMS, world_files

WORLD = "world.json"
_FLAGS = {"seed": "--seed", "clips": "--clips", "classes": "--classes", "objects": "--objects",
          "test": "--test"}  # fmt: skip


def is_world(folder: Path) -> bool:
    """Whether a folder holds a synthetic world."""
    return (folder / WORLD).exists()


def world_document(world: Path) -> dict[str, Any]:
    """Read every file of a world; return the `avpipe.verify/1` document."""
    try:
        found = dict(world_files(world))
    except FileNotFoundError:
        line = f"{world} has no {SUMS}, an older avpipe made it: damage would not be noticed"
        return _document({}, {}, [], [], [line])
    damaged = {name: problem for name, problem in found.items() if problem}
    lost = [f"{WORLD}: make the world again in another folder"] if WORLD in damaged else []
    spoilt = [str(world / name) for name in damaged]
    commands = [shlex.join(["rm", "-f", *spoilt]), _synth(world)] if damaged and not lost else []
    there = [world / name for name in found if (world / name).exists()]
    sizes = {str(path): path.stat().st_size for path in there}
    return _document(damaged, sizes, commands, lost, [])


def _document(
    damaged: dict[str, str],
    sizes: dict[str, int],
    commands: list[str],
    lost: list[str],
    notices: list[str],
) -> dict[str, Any]:
    return {
        "schema": "avpipe.verify/1",
        "ok": not damaged,
        "files": len(sizes),
        "bytes": sum(sizes.values()),
        "damaged": damaged,
        "repaired": [],
        "commands": commands,
        "lost": lost,
        "notices": notices,
    }


def _synth(world: Path) -> str:
    """Return what makes missing files of a world again: the command that made it."""
    told = parse_json((world / WORLD).read_bytes())
    words = ["avpipe", "synth", str(world)]
    for key, flag in _FLAGS.items():
        words += [flag, str(told[key])] if key in told else []
    words += ["--size", *map(str, told["size"])]
    made_of = "  # and its --photos, --sounds, --backgrounds" if "material" in told else ""
    return shlex.join(words) + made_of
