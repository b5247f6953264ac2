"""Planning of `extract`: what the user named becomes manifest lines; what is not done is to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..cache.manifest import Line, Manifest, Root
from ..cache.schema import AUDIO, EXTRACT, MANIFEST, params_difference, shard_path
from ..cache.shard import read_header, remove_orphans
from ..cache.state import is_dropped, shard_numbers
from ..cache.store import Cache
from ..errors import CacheCorruptError, Reason
from .inputs import Candidate


def open_manifest(cache: Path) -> Manifest:
    """Read the manifest, mend what an interrupted run left, remove its temporary files."""
    for folder in (MANIFEST, EXTRACT, AUDIO):
        remove_orphans(cache / folder)
    manifest = Manifest(cache)
    manifest.heal()
    return manifest


def add_segment(
    cache: Path,
    candidates: Sequence[Candidate],
    *,
    remap: Mapping[int, str],
    pieces: Callable[[Sequence[Candidate]], Iterator[Candidate]],
    shard_clips: int | None,
) -> int:
    """Give every candidate that is not in the manifest yet its row, in one new segment.

    Args:
        cache: Cache folder.
        candidates: What was found, sorted by path bytes.
        remap: Folders that stand for a root, by the root's index.
        pieces: Cuts the new candidates into several clips each (`--segment`); the identity if not.
        shard_clips: Clips per shard, None for the default.

    Returns:
        How many clips were added.
    """
    while True:
        manifest = Manifest(cache)
        roots = list(manifest.roots)
        index = {root["path"]: number for number, root in enumerate(roots)}
        index.update({os.path.abspath(folder): number for number, folder in remap.items()})  # noqa: PTH100
        known = {(line["root"], line["path"], line.get("start_s")) for _, line in manifest.lines()}
        files = {(root, path) for root, path, _ in known}
        new = []
        for candidate in candidates:
            if candidate.root not in index:
                index[candidate.root] = len(roots)
                device = Path(candidate.root).stat().st_dev
                roots.append(Root(path=candidate.root, device=device))
            place = index[candidate.root], candidate.path
            # a file cut into pieces is known by its pieces, whatever --segment says this time
            seen = (
                place in files
                if candidate.start_s is None
                else (*place, candidate.start_s) in known
            )
            if not seen:
                new.append(candidate)
        if not new:
            return 0
        taken = {line["id"] for _, line in manifest.lines()}
        cut = list(pieces(new))
        lines = (_line(candidate, index[candidate.root], taken) for candidate in cut)
        if manifest.publish(lines, len(cut), roots, shard_clips=shard_clips):
            return len(cut)


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
            line[name] = value  # type: ignore[literal-required]
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


def cut_into_pieces(
    candidate: Candidate, duration_s: float | None, piece_s: float
) -> list[Candidate]:
    """Cut a file into pieces of equal length; a tail under half a piece is dropped.

    A file whose duration is unknown, or under one and a half pieces long, gives at least one
    piece, so that it ends as done or as failed with its reason.
    """
    if duration_s is None:
        return [candidate]
    count = max(1, int(duration_s / piece_s + 0.5))
    return [
        Candidate(
            id=f"{candidate.id}_{round(number * piece_s * 1000):09d}",
            root=candidate.root,
            path=candidate.path,
            bytes=candidate.bytes,
            source=candidate.source,
            audio_path=candidate.audio_path,
            start_s=number * piece_s,
            seconds=piece_s,
            label=candidate.label,
            reject=candidate.reject,
        )
        for number in range(count)
    ]


class DurationJournal:
    """Durations probed so far, kept in a file so that a killed planning pass goes on.

    Each line is `[path, bytes, duration or null]`; a torn last line is ignored.
    """

    def __init__(self, cache: Path) -> None:
        """Read what an earlier pass left."""
        self._path = cache / MANIFEST / "durations.journal"
        self.known: dict[tuple[str, int], float | None] = {}
        if self._path.exists():
            for text in self._path.read_bytes().splitlines():
                with suppress(ValueError):
                    path, size, duration_s = json.loads(text)
                    self.known[path, size] = duration_s

    def add(self, entries: Iterable[tuple[str, int, float | None]]) -> None:
        """Append probed files."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            for path, size, duration_s in entries:
                self.known[path, size] = duration_s
                file.write(b"\n" + json.dumps([path, size, duration_s]).encode("ascii"))

    def remove(self) -> None:
        """Forget the journal: its content is in the manifest now."""
        self._path.unlink(missing_ok=True)
