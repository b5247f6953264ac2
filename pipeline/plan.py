"""Planning of `extract`: what the user named becomes manifest lines; what is not done is to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.manifest import Manifest
from ..cache.schema import AUDIO, EXTRACT, MANIFEST, params_difference, shard_path
from ..cache.segment import Line, Root
from ..cache.shard import read_header
from ..cache.state import is_dropped, shard_numbers
from ..cache.store import Cache
from ..cache.writer import remove_orphans
from ..errors import CacheCorruptError, Reason
from .inputs import Candidate


def sweep(cache: Path) -> None:
    """Remove the temporary files of runs that were killed."""
    for folder in (MANIFEST, EXTRACT, AUDIO):
        remove_orphans(cache / folder)


def open_manifest(cache: Path) -> Manifest:
    """Read the manifest, mend what an interrupted run left, remove its temporary files."""
    sweep(cache)
    manifest = Manifest(cache)
    manifest.heal()
    return manifest


@dataclass(frozen=True)
class News:
    """Candidates that a manifest does not know yet.

    Attributes:
        candidates: They, in the order given.
        roots: The manifest's roots, and behind them those that only the candidates have.
        index: Number of each root by folder; a folder that stands for a root has that root's.
    """

    candidates: list[Candidate]
    roots: list[Root]
    index: dict[str, int]


def find_new(manifest: Manifest, candidates: Sequence[Candidate], remap: Mapping[int, str]) -> News:
    """Return the candidates that have no row yet.

    Args:
        manifest: What is planned.
        candidates: What was found, sorted by path bytes.
        remap: Folders that stand for a root, by the root's number.
    """
    roots = list(manifest.roots)
    index = {root["path"]: number for number, root in enumerate(roots)}
    index.update({os.path.abspath(folder): number for number, folder in remap.items()})  # noqa: PTH100
    for candidate in candidates:
        if candidate.root not in index:
            index[candidate.root] = len(roots)
            device = Path(candidate.root).stat().st_dev
            roots.append(Root(path=candidate.root, device=device))
    planned = _planned(manifest, candidates, index)
    new = [candidate for candidate, known in zip(candidates, planned, strict=True) if not known]
    return News(new, roots, index)


def _planned(
    manifest: Manifest, candidates: Sequence[Candidate], index: Mapping[str, int]
) -> bytearray:
    """Flag the candidates that have a row.

    Both sides are sorted by path, so one walk along each segment does it, and millions of clips
    take no memory but the flags.
    """
    planned = bytearray(len(candidates))
    for segment in manifest.segments:
        first = 0
        for line in segment.lines():
            path = os.fsencode(line["path"])
            while first < len(candidates) and os.fsencode(candidates[first].path) < path:
                first += 1
            for at in range(first, len(candidates)):
                candidate = candidates[at]
                if candidate.path != line["path"]:
                    break
                # a file that was cut into pieces is known, whatever --segment says this time
                same_start = candidate.start_s in (None, line.get("start_s"))
                if index[candidate.root] == line["root"] and same_start:
                    planned[at] = True
    return planned


def add_segment(
    cache: Path,
    candidates: Sequence[Candidate],
    *,
    remap: Mapping[int, str],
    cut: Callable[[Sequence[Candidate]], Iterator[Candidate]],
    shard_clips: int | None,
) -> int:
    """Give every candidate that is not in the manifest yet its row, in one new segment.

    Args:
        cache: Cache folder.
        candidates: What was found, sorted by path bytes.
        remap: Folders that stand for a root, by the root's number.
        cut: Cuts the new candidates into several clips each (`--segment`); the identity if not.
        shard_clips: Clips per shard, None for the default.

    Returns:
        How many clips were added.
    """
    while True:
        manifest = Manifest(cache)
        news = find_new(manifest, candidates, remap)
        if not news.candidates:
            return 0
        taken = {line["id"] for _, line in manifest.lines()}
        clips = list(cut(news.candidates))
        lines = (_line(clip, news.index[clip.root], taken) for clip in clips)
        if manifest.publish(lines, len(clips), news.roots, shard_clips=shard_clips):
            return len(clips)


def _line(candidate: Candidate, root: int, taken: set[str]) -> Line:
    line = Line(
        id=candidate.id,
        root=root,
        path=candidate.path,
        source=candidate.source,
        bytes=candidate.bytes,
    )
    for name in ("audio_path", "start_s", "seconds", "label"):
        value: Any = getattr(candidate, name)
        if value is not None:
            line[name] = value
    reject = candidate.reject
    if reject is None and candidate.id in taken:
        reject = Reason.DUPLICATE_ID
    if reject is not None:
        line["reject"] = str(reject)
    taken.add(candidate.id)
    return line


def add_retries(cache: Path, reason: str, *, shard_clips: int | None) -> int:
    """Give failed clips a new row each, that takes the place of the failed one.

    Args:
        cache: Cache folder.
        reason: Retry these; all reasons if empty.
        shard_clips: Clips per shard, None for the default.

    Returns:
        How many clips will be tried again.
    """
    while True:
        opened = Cache(cache)
        failures = [f for f in opened.failures() if reason in ("", f.reason)]
        if not failures:
            return 0
        lines = []
        for failure in failures:
            line = opened.manifest.line(failure.row)
            line["retry_of"], line["was"] = failure.row, failure.reason
            lines.append(line)
        lines.sort(key=lambda line: os.fsencode(line["path"]))
        if opened.manifest.publish(
            lines,
            len(lines),
            opened.manifest.roots,
            num_retries=len(lines),
            shard_clips=shard_clips,
        ):
            return len(lines)


def shards_to_do(
    cache: Path,
    manifest: Manifest,
    params: Mapping[str, Any],
    *,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
) -> list[int]:
    """Return the shards that are not extracted yet, from their 4 KiB headers alone.

    Raises:
        CacheCorruptError: If a shard was made with other parameters (unless `overwrite`: then it
            is to do), belongs to another manifest, or its header is damaged.
    """
    audio_dropped = is_dropped(cache, AUDIO)
    have, have_audio = shard_numbers(cache, EXTRACT), shard_numbers(cache, AUDIO)
    todo = []
    for shard in range(part[0], manifest.num_shards, part[1]):
        if shard not in have:
            todo.append(shard)
            continue
        path = shard_path(cache, EXTRACT, shard)
        header = read_header(path)
        if header.inputs["manifest"] != manifest.shard_sha256(shard):
            raise CacheCorruptError(f"{path} belongs to another manifest; move it away")
        if difference := params_difference(header.params, params):
            if not overwrite:
                name, found, wanted = difference
                raise CacheCorruptError(
                    f"{path} was made with {name} {found}, this run asks for {wanted}: give "
                    f"{name} {found}, or another --cache, or --overwrite to make it again"
                )
            todo.append(shard)
        elif not audio_dropped and (
            shard not in have_audio
            or read_header(shard_path(cache, AUDIO, shard)).sha256 != header.companions[AUDIO]
        ):
            todo.append(shard)
    return todo
