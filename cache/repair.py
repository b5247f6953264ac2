"""Mending a damaged cache: what has a copy is restored, the rest is moved away and made again."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from ..errors import CacheCorruptError
from .manifest import Manifest, copy_durably, copy_path
from .schema import AUDIO, DAMAGED, EMBEDDINGS, EXTRACT, NEIGHBORS, Header, shard_path
from .shard import read_header
from .state import is_dropped, shard_numbers, stages
from .writer import temporary

_EXTRACT_FLAGS = {
    "spectrogram": ("--spectrogram", "257x276"),
    "audio_seconds": ("--audio-seconds", 10.0),
    "decoder": ("--decoder", "pyav"),
}
"""Parameters that the command line can give, and its defaults."""


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
        copy_durably(path, spare)
        return f"{name}.copy written again"
    if path.exists():
        set_aside(cache, path)
    copy_durably(spare, path)
    return f"{name} restored from its copy"


def remake_commands(
    cache: Path, manifest: Manifest, bad: list[tuple[str, int]]
) -> tuple[list[str], list[str]]:
    """Return the commands that make damaged shards again, and the sources that are gone.

    To be called before the shards are moved: their headers may still tell the parameters.
    """
    spoilt = {stage for stage, _ in bad}
    commands, gone = [], []
    if EXTRACT in spoilt or (AUDIO in spoilt and not is_dropped(cache, AUDIO)):
        commands.append(_extract_command(cache))
        numbers = {number for stage, number in bad if stage in (EXTRACT, AUDIO)}
        for number in sorted(numbers & set(range(manifest.num_shards))):
            gone += _gone_sources(manifest, number)
    for stage in sorted(spoilt - {EXTRACT, AUDIO}):
        commands.append(_network_command(cache, stage))
    return list(dict.fromkeys(commands)), gone


def _network_command(cache: Path, stage: str) -> str:
    """Return what makes a stage of hints, embeddings or neighbours again."""
    kind, _, name = stage.partition("/")
    header = _any_header(cache, stage)
    hears = header is not None and AUDIO in header.inputs
    words = ["avpipe", "embed-teachers", "--audio" if hears else "--visual", name]
    if kind in (EMBEDDINGS, NEIGHBORS):
        modality, _, encoder = name.partition("@")[0].partition("-")
        if kind == EMBEDDINGS:
            modality, encoder = "audio" if hears else "image", name
        words = ["avpipe", "knn", f"--{modality}", encoder]
        found = [s for s in stages(cache) if s.startswith(f"{NEIGHBORS}/{modality}-{encoder}@")]
        searched = _any_header(cache, found[0]) if found else None
        if searched:
            words += ["--k", str(searched.params["k"])]
    if header and (header.weights or "").startswith("random"):
        words += ["--weights", "random"]
    return shlex.join([*words, "--cache", str(cache)])


def _extract_command(cache: Path) -> str:
    header = _any_header(cache, EXTRACT) or _any_header(cache, AUDIO)
    params = header.params if header else {}
    words = ["avpipe", "extract", "--cache", str(cache)]
    for name, (flag, default) in _EXTRACT_FLAGS.items():
        if params.get(name, default) != default:
            words += [flag, str(params[name])]
    return shlex.join(words)


def _any_header(cache: Path, stage: str) -> Header | None:
    """Return the first header of a stage that can still be read."""
    for number in sorted(shard_numbers(cache, stage)):
        with suppress(CacheCorruptError):
            return read_header(shard_path(cache, stage, number))
    return None


def _gone_sources(manifest: Manifest, number: int) -> list[str]:
    """Return the files of a shard that were there when it was planned, and are not now."""
    plan = manifest.plan(number)
    gone = []
    for row, line in enumerate(plan.lines, plan.first_row):
        root = plan.roots[line["root"]]["path"]
        path = os.path.join(root, line["path"])  # noqa: PTH118
        if row in plan.superseded or not line["bytes"] or os.path.lexists(path):
            continue
        moved = f" (if its clips have moved, add --root {line['root']}=DIR to the command)"
        gone.append(path + ("" if os.path.isdir(root) else moved))  # noqa: PTH112
    return gone
