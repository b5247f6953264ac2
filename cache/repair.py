"""Repair of a damaged cache: what has a copy is restored, the rest is moved away."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import CacheCorruptError
from .addresses import is_elsewhere, joined
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
    Header,
    id_set_digest,
    shard_path,
)
from .shard import Shard, read_header
from .state import is_dropped, shard_numbers, stages
from .writer import remove_orphans, sync_folder, temporary


@dataclass(frozen=True)
class Spoilt:
    """A stage that lost shards, and what says how it was made.

    Attributes:
        stage: For example `embeddings/imagenet-resnet18`.
        header: Of a shard of it that can still be read, None where there is none.
        of_all: Whether neighbours or clusters were made of all clips that are done now.
        made_of_it: Of embeddings: the neighbours and clusters that were made of them.
    """

    stage: str
    header: Header | None
    of_all: bool = True
    made_of_it: tuple[Spoilt, ...] = ()


@dataclass(frozen=True)
class Lost:
    """What a repair cannot bring back.

    Attributes:
        what: A source that is gone, by its path, or a segment of which no copy is good.
        moved_root: The number of the source's root, where that is gone too: it may have moved.
    """

    what: str
    moved_root: int | None = None


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


def set_aside(cache: Path, path: Path, *, is_replaced: bool = False) -> None:
    """Move a damaged file to `damaged/`, beside what was moved there before.

    Where it is gone, another process has moved it.

    Args:
        cache: The cache.
        path: The file.
        is_replaced: It keeps its name, too, until another file takes it: others read the manifest.
    """
    target = cache / DAMAGED / path.relative_to(cache)
    with temporary(target):
        number = 1
        while target.exists():
            if is_replaced and target.samefile(path):  # a repair that was killed here
                return
            target = target.with_name(f"{path.name}.{number}")
            number += 1
        try:
            if is_replaced and path.is_file():
                os.link(path, target)
            else:
                path.rename(target)
        except FileNotFoundError:
            if path.exists():
                raise
    with suppress(FileNotFoundError):  # dropped meanwhile
        sync_folder(path.parent)


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
            set_aside(cache, spare, is_replaced=True)
        write_copy(path)
        return f"{name}.copy written again"
    if path.exists():
        set_aside(cache, path, is_replaced=True)
    copy_durably(spare, path)
    return f"{name} restored from its copy"


def spoilt_stages(cache: Path, manifest: Manifest, bad: list[tuple[str, int]]) -> list[Spoilt]:
    """Return the stages that are to be made again, in the order to make them in.

    To be called before the shards are moved: their headers may still tell the parameters.

    Args:
        cache: The cache.
        manifest: Its manifest.
        bad: The damaged shards, `(stage, number)` each.
    """
    names = {stage for stage, _ in bad}
    found = []
    if EXTRACT in names or (AUDIO in names and not is_dropped(cache, AUDIO)):
        header = _any_header(cache, EXTRACT) or _any_header(cache, AUDIO)
        found.append(Spoilt(EXTRACT, header))
    networks = names - {EXTRACT, AUDIO}
    if networks:
        finished = id_set_digest(_finished_ids(cache, manifest, bad))
        # hints come first: neighbours and clusters may be made of them
        for stage in sorted(networks, key=lambda stage: (not stage.startswith(HINTS), stage)):
            found.append(_spoilt(cache, stage, finished))
    return found


def lost_sources(manifest: Manifest, bad: list[tuple[str, int]]) -> list[Lost]:
    """Return the sources of damaged shards that were there when planned, and are not now."""
    numbers = {number for stage, number in bad if stage in (EXTRACT, AUDIO)}
    numbers &= set(range(manifest.num_shards))
    return [lost for number in sorted(numbers) for lost in _lost_of(manifest, number)]


def _spoilt(cache: Path, stage: str, finished: str) -> Spoilt:
    """Return what says how a stage was made that a network's output is in.

    Args:
        cache: The cache.
        stage: Its name.
        finished: Digest of the ids of all clips that are done.
    """
    kind, _, name = stage.partition("/")
    digest = name.partition("@")[2]
    made_of_it = []
    if kind == EMBEDDINGS:
        made_of_it = [
            _spoilt(cache, other, finished)
            for other in stages(cache)
            if other.startswith((f"{NEIGHBORS}/image-{name}@", f"{NEIGHBORS}/audio-{name}@"))
            or re.match(rf"{CLUSTERS}/{re.escape(name)}-k\d+@", other)
        ]
    of_all = finished.startswith(digest)
    return Spoilt(stage, _any_header(cache, stage), of_all, tuple(made_of_it))


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


def _any_header(cache: Path, stage: str) -> Header | None:
    """Return the first header of a stage that can still be read."""
    for number in sorted(shard_numbers(cache, stage)):
        with suppress(CacheCorruptError, FileNotFoundError):
            return read_header(shard_path(cache, stage, number))
    return None


def _lost_of(manifest: Manifest, number: int) -> Iterator[Lost]:
    plan = manifest.plan(number)
    for row, line in enumerate(plan.lines, plan.first_row):
        root = plan.roots[line["root"]]["path"]
        path = joined(root, line["path"])
        if row in plan.superseded or not line["bytes"] or is_elsewhere(path):
            continue  # making it again tells of what cannot be fetched any more
        if os.path.lexists(path):
            continue
        yield Lost(path, None if os.path.isdir(root) else line["root"])  # noqa: PTH112
