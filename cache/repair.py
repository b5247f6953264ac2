"""Mending a damaged cache: what has a copy is restored, the rest is moved away and made again."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import CacheCorruptError
from .defaults import AUDIO_SECONDS, DECODER, SPECTROGRAM
from .manifest import Manifest, copy_durably, copy_path, write_copy
from .schema import (
    AUDIO,
    CLUSTERS,
    DAMAGED,
    EMBEDDINGS,
    EXTRACT,
    HINTS,
    MANIFEST,
    NEIGHBORS,
    OBJECTS,
    Header,
    encoder_option,
    id_set_digest,
    shard_path,
)
from .shard import Shard, read_header
from .state import is_dropped, shard_numbers, stages
from .writer import remove_orphans, temporary

_EXTRACT_FLAGS = {
    "spectrogram": ("--spectrogram", SPECTROGRAM),
    "audio_seconds": ("--audio-seconds", AUDIO_SECONDS),
    "decoder": ("--decoder", DECODER),
}
"""Parameters that the command line can give, and its defaults."""


_ENCODER = "-encoder"
"""Ends the name of a hint that is the output of a network's encoder."""


@contextmanager
def repairing(cache: Path) -> Iterator[None]:
    """Hold the cache for a repair, another one waits; sweep what killed ones left."""
    fd = os.open(cache / MANIFEST, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems lock no folders: `set_aside` bears two at once
            fcntl.flock(fd, fcntl.LOCK_EX)
        aside = cache / DAMAGED
        for folder in (cache / MANIFEST, aside, *(path for path in aside.rglob("*/"))):
            remove_orphans(folder)
        yield
    finally:
        os.close(fd)


def set_aside(cache: Path, path: Path) -> None:
    """Move a damaged file to `damaged/`, beside what was moved there before.

    Where it is gone, another process has moved it.
    """
    target = cache / DAMAGED / path.relative_to(cache)
    with temporary(target):
        number = 1
        while target.exists():
            target = target.with_name(f"{path.name}.{number}")
            number += 1
        try:
            path.rename(target)
        except FileNotFoundError:
            if path.exists():
                raise


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
    networks = spoilt - {EXTRACT, AUDIO}
    if networks:
        finished = id_set_digest(_finished_ids(cache, manifest, bad))
        # hints come first: neighbours and clusters may be made of them
        for stage in sorted(networks, key=lambda stage: (not stage.startswith(HINTS), stage)):
            commands.append(_network_command(cache, stage, finished))
    return list(dict.fromkeys(commands)), gone


def _finished_ids(cache: Path, manifest: Manifest, bad: list[tuple[str, int]]) -> list[str]:
    """Return the ids of the clips that are done; of a damaged extract shard, as audio tells."""
    rows: set[int] = set()
    for number in range(manifest.num_shards):
        for stage in (EXTRACT, AUDIO):
            path = shard_path(cache, stage, number)
            if (stage, number) not in bad:
                with suppress(FileNotFoundError):
                    rows.update(Shard(path, verify=False).rows.tolist())
                    break
    return [line["id"] for row, line in manifest.lines() if row in rows]


def _network_command(cache: Path, stage: str, finished: str) -> str:
    """Return what makes a stage again that a network's output is in.

    Args:
        cache: The cache.
        stage: For example `embeddings/imagenet-resnet18`.
        finished: Digest of the ids of all clips that are done.
    """
    kind, _, name = stage.partition("/")
    if kind == NEIGHBORS:
        return _knn_command(cache, stage, finished)
    if kind == CLUSTERS:
        return _cluster_command(cache, stage, finished)
    header = _any_header(cache, stage)
    hears = header is not None and AUDIO in header.inputs
    if kind == EMBEDDINGS:  # what was made of them is there, and is skipped
        made = [
            _network_command(cache, other, finished)
            for other in stages(cache)
            if other.startswith((f"{NEIGHBORS}/image-{name}@", f"{NEIGHBORS}/audio-{name}@"))
            or re.match(rf"{CLUSTERS}/{re.escape(name)}-k\d+@", other)
        ]
        by = ["--image", name, "--audio", "none"]
        if hears:
            by = ["--audio", encoder_option(name), "--image", "none"]
        return min([*made, _command(cache, ["knn", *by], header)], key=lambda line: "--ids" in line)
    if kind == OBJECTS:
        words = ["--visual", "none", "--audio", "none", "--objects"]
    elif hears:
        words = ["--visual", "none", "--audio", name]
    else:
        words = ["--visual", name.removesuffix(_ENCODER), "--audio", "none"]
        words += ["--visual-hint", "encoder"] if name.endswith(_ENCODER) else []
    return _command(cache, ["embed-teachers", *words], header)


def _knn_command(cache: Path, stage: str, finished: str) -> str:
    """Return what searches neighbours again."""
    modality, _, encoder = stage.partition("/")[2].partition("@")[0].partition("-")
    header = _any_header(cache, stage)
    words = ["knn", f"--{modality}", encoder_option(encoder)]
    words += ["--audio" if modality == "image" else "--image", "none"]
    words += ["--k", str(header.params["k"])] if header else []
    return _command(cache, words, header) + _id_list(stage, finished)


def _cluster_command(cache: Path, stage: str, finished: str) -> str:
    """Return what makes a stage of clusters again; folder and header tell how it was made."""
    encoder, _, k = stage.partition("/")[2].partition("@")[0].rpartition("-k")
    header = _any_header(cache, stage)
    words = ["cluster", "--k", k, "--encoder", encoder_option(encoder)]
    if header and header.params["seed"]:
        words += ["--seed", str(header.params["seed"])]
    return _command(cache, words, header) + _id_list(stage, finished)


def _command(cache: Path, words: list[str], header: Header | None) -> str:
    if header and (header.weights or "").startswith("random"):
        words = [*words, "--weights", "random"]
    return shlex.join(["avpipe", *words, "--cache", str(cache)])


def _id_list(stage: str, finished: str) -> str:
    """Ask for the ids of a set that is not all clips: a cache knows only its digest."""
    digest = stage.rpartition("@")[2]
    if digest == finished[: len(digest)]:
        return ""
    return f" --ids LIST  # LIST: the ids that {stage} was made of"


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
        with suppress(CacheCorruptError, FileNotFoundError):
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
