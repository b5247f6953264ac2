"""Mending a damaged cache: what has a copy is restored, the rest is moved away and made again."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from ..errors import CacheCorruptError
from .manifest import Manifest, copy_path, write_copy
from .schema import AUDIO, DAMAGED, EXTRACT, shard_path
from .shard import read_header, temporary
from .state import is_dropped, shard_numbers

_EXTRACT_FLAGS = {
    "spectrogram": ("--spectrogram", "257x276"),
    "audio_seconds": ("--audio-seconds", 10.0),
    "decoder": ("--decoder", "pyav"),
}
"""Parameters that the command line can give, and its defaults."""

_STAGE_COMMANDS = {
    "hints": "embed-teachers",
    "objects": "embed-teachers --objects",
    "embeddings": "knn",
    "neighbors": "knn",
    "clusters": "cluster",
}


def set_aside(cache: Path, path: Path) -> None:
    """Move a damaged file to `damaged/`, beside what was moved there before."""
    target = cache / DAMAGED / path.relative_to(cache)
    with temporary(target):
        number = 1
        while target.exists():
            target = target.with_name(f"{path.name}.{number}")
            number += 1
        path.rename(target)


def restore_segment(cache: Path, path: Path, *, good: bool, spare_good: bool) -> str:
    """Write the damaged one of a manifest segment and its copy again from the other.

    Returns:
        What was done; empty if neither is good.
    """
    if not (good or spare_good):
        return ""
    spare = copy_path(path)
    name = path.relative_to(cache).as_posix()
    if good:
        if spare.exists():
            set_aside(cache, spare)
        write_copy(path)
        return f"{name}.copy written again"
    if path.exists():
        set_aside(cache, path)
    with temporary(path) as draft:
        draft.write_bytes(spare.read_bytes())
        draft.rename(path)
    return f"{name} restored from its copy"


def remake_commands(
    cache: Path, manifest: Manifest, bad: list[tuple[str, int]]
) -> tuple[list[str], list[str]]:
    """Return the commands that make damaged shards again, and the sources that are gone.

    To be called before the shards are moved: their headers may still tell the parameters.
    """
    stages = {stage for stage, _ in bad}
    commands, gone = [], []
    if EXTRACT in stages or (AUDIO in stages and not is_dropped(cache, AUDIO)):
        commands.append(_extract_command(cache))
        numbers = {number for stage, number in bad if stage in (EXTRACT, AUDIO)}
        for number in sorted(numbers & set(range(manifest.num_shards))):
            gone += _gone_sources(manifest, number)
    for stage in sorted(stages):
        if command := _STAGE_COMMANDS.get(stage.split("/")[0]):
            commands.append(shlex.join(["avpipe", *command.split(), "--cache", str(cache)]))
    return list(dict.fromkeys(commands)), gone


def _extract_command(cache: Path) -> str:
    params = _extract_params(cache)
    words = ["avpipe", "extract", "--cache", str(cache)]
    for name, (flag, default) in _EXTRACT_FLAGS.items():
        if params.get(name, default) != default:
            words += [flag, str(params[name])]
    return shlex.join(words)


def _extract_params(cache: Path) -> dict[str, Any]:
    """Return the parameters of the first shard that still tells them."""
    for stage in (EXTRACT, AUDIO):
        for number in sorted(shard_numbers(cache, stage)):
            try:
                return read_header(shard_path(cache, stage, number)).params
            except CacheCorruptError:
                continue
    return {}


def _gone_sources(manifest: Manifest, number: int) -> list[str]:
    """Return the files of a shard that were there when it was planned, and are not now."""
    plan = manifest.plan(number)
    paths = (
        os.path.join(plan.roots[line["root"]]["path"], line["path"])  # noqa: PTH118
        for line in plan.lines
        if line["bytes"]
    )
    return [path for path in paths if not os.path.lexists(path)]
