"""Planning of `extract`: what the user named becomes manifest lines; what is not done is to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from ...advice import advice
from ...cache.defaults import FRAME
from ...cache.manifest import Manifest
from ...cache.schema import AUDIO, EXTRACT, MANIFEST, params_difference, shard_path
from ...cache.segment import Line, Root
from ...cache.shard import read_header
from ...cache.state import is_dropped, require_manifest_of, shard_numbers
from ...cache.store import Cache, Failure
from ...cache.writer import remove_orphans
from ...errors import CacheCorruptError, Reason, UsageError
from ...stages.extract import STAGE_VERSION
from .candidate import Candidate, candidate_text, uncollected, uncut_id
from .known import find_new, seen_roots
from .lists import shown
from .settings import ID_FROM, IdFrom
from .taken import TakenIds


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


def require_roots(cache: Path, roots: Sequence[Root], remap: Mapping[int, str]) -> None:
    """Refuse `--root N=DIR` for a root that a cache does not have.

    Args:
        cache: Cache folder.
        roots: Its roots, with those that this run adds.
        remap: Folders that stand for a root, by the root's number.

    Raises:
        UsageError: There is no root of such a number.
    """
    last = len(roots) - 1
    for number in remap:
        if number > last:
            has = "root 0 alone" if last == 0 else f"roots 0 to {last}" if roots else "no roots yet"
            raise UsageError(f"--root {number}=...: {cache} has {has}")


@uncollected()
def add_segment(
    cache: Path,
    candidates: Sequence[Candidate],
    *,
    remap: Mapping[int, str],
    cut: Callable[[Sequence[Candidate]], Iterator[Candidate]],
    shard_clips: int | None,
    id_from: IdFrom = ID_FROM,
    manifest: Manifest | None = None,
    notices: list[str] | None = None,
    cuts: bool = False,
) -> int:
    """Give every candidate that is not in the manifest yet its row, in one new segment.

    Args:
        cache: Cache folder.
        candidates: What was found, sorted by path bytes.
        remap: Folders that stand for a root, by the root's number.
        cut: Cuts the new candidates into several clips each (`--segment`); the identity if not.
        shard_clips: Clips per shard, None for the default.
        id_from: How ids were made where none was given.
        manifest: The cache's, if that was read already.
        notices: What people should know is added.
        cuts: Whether `cut` cuts: see `find_new`.

    Returns:
        How many clips were added.

    Raises:
        UsageError: As `require_roots`; nothing is added.
    """
    notices = [] if notices is None else notices
    while True:
        manifest = Manifest(cache) if manifest is None else manifest.refreshed()
        failed_rows = partial(_failed_rows, cache, manifest)
        news = find_new(
            manifest, candidates, remap, id_from=id_from, failed_rows=failed_rows, cuts=cuts
        )
        require_roots(cache, news.roots, remap)
        if not news.candidates:
            _tell_changed(news.changed, notices)
            return 0
        clips = list(cut(news.candidates))
        if not clips:
            _tell_changed(news.changed, notices)
            return 0
        taken = TakenIds(manifest, clips, news.index)
        found = _found_again(cache, manifest, clips, taken, news.again)
        lines = _new_lines(clips, news.index, taken, found)
        if manifest.publish(
            lines, len(clips), news.roots, num_retries=len(found), shard_clips=shard_clips
        ):
            _tell_changed(news.changed, notices)
            return len(clips)


def _failed_rows(cache: Path, manifest: Manifest) -> set[int]:
    return {failure.row for failure in Cache(cache, manifest=manifest).failures()}


def _tell_changed(changed: Sequence[Candidate], notices: list[str]) -> None:
    """Say which clips are not what they were any more; rows are for ever."""
    if changed:
        number = "a clip has" if len(changed) == 1 else f"{len(changed)} clips have"
        notices.append(
            f"{number} changed since planned, {shown(changed[0].path)} first: what is in the cache "
            "stays; name another --cache for what is there now"
        )


def _found_again(
    cache: Path,
    manifest: Manifest,
    clips: Sequence[Candidate],
    taken: TakenIds,
    again: Set[str] = frozenset(),
) -> dict[int, Failure]:
    """Return which clips are those that failed as `missing`, under another path, by position.

    Those whose ids are in `again` failed for any reason, before other content lay at their address.
    The first piece of a file takes the place of the file.
    """
    if not any(clip.bytes and (clip.id in taken or uncut_id(clip) in taken) for clip in clips):
        return {}
    failures = Cache(cache, manifest=manifest).failures("" if again else Reason.MISSING)
    lost = {
        failure.id: failure
        for failure in failures
        if failure.reason == Reason.MISSING or failure.id in again
    }
    found = {}
    for number, clip in enumerate(clips):
        if clip.bytes and clip.reject is None:
            failure = lost.pop(clip.id, None) or lost.pop(uncut_id(clip), None)
            if failure is not None:
                found[number] = failure
    return found


def _new_lines(
    clips: Sequence[Candidate],
    index: Mapping[str, int],
    taken: TakenIds,
    found: Mapping[int, Failure],
) -> Iterator[Line | bytes]:
    """Yield the candidates' manifest lines, nearly all as they are written."""
    for number, clip in enumerate(clips):
        root = index[clip.root]
        if number not in found and clip.reject is None and taken.take(clip.id):
            yield candidate_text(clip, root)
        else:
            yield new_line(clip, root, taken, found.get(number))


def new_line(
    candidate: Candidate, root: int, taken: TakenIds, failure: Failure | None = None
) -> Line:
    """Return a candidate's manifest line; its id joins those `taken`.

    Args:
        candidate: What was found.
        root: Number of its root.
        taken: Ids of all lines so far.
        failure: What became of this clip before, whose row the new one takes the place of.
    """
    line: Line = {
        "id": candidate.id,
        "root": root,
        "path": candidate.path,
        "source": candidate.source,
        "bytes": candidate.bytes,
    }
    for name in ("audio_path", "start_s", "seconds", "label", "detail", "etag", "offset"):
        value: Any = getattr(candidate, name)
        if value is not None:
            line[name] = value
    reject = candidate.reject
    if failure is not None:
        _supersede(failure, line)
    elif reject is None and candidate.id in taken:
        reject = Reason.DUPLICATE_ID
        line["detail"] = f"{taken.holder(candidate.id, root)} has this id"
    if reject is not None:
        line["reject"] = str(reject)
    taken.add(candidate.id)
    return line


def add_retries(
    cache: Path, reason: str, *, shard_clips: int | None, manifest: Manifest | None = None
) -> int:
    """Give failed clips a new row each, that takes the place of the failed one.

    Args:
        cache: Cache folder.
        reason: Retry these; all reasons if empty.
        shard_clips: Clips per shard, None for the default.
        manifest: The cache's, if that was read already.

    Returns:
        How many clips will be tried again.
    """
    while True:
        manifest = Manifest(cache) if manifest is None else manifest.refreshed()
        lines = retry_lines(cache, manifest, reason)
        if not lines:
            return 0
        if manifest.publish(
            lines,
            len(lines),
            seen_roots(manifest),
            num_retries=len(lines),
            shard_clips=shard_clips,
        ):
            return len(lines)


def retry_lines(cache: Path, manifest: Manifest, reason: str) -> list[Line]:
    """Return a line for every failed clip (of that reason, if any), in the order of a segment."""
    lines = []
    for failure in Cache(cache, manifest=manifest).failures(reason):
        line = manifest.line(failure.row)
        _supersede(failure, line)
        lines.append(line)
    return sorted(lines, key=lambda line: os.fsencode(line["path"]))


def _supersede(failure: Failure, line: Line) -> None:
    """Let a line say of which failed row it takes the place."""
    line["retry_of"], line["was"] = failure.row, failure.reason
    line["was_detail"] = failure.detail


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
        CacheCorruptError: See `is_extracted`; or the manifest ends before the last shard.
    """
    require_manifest_of(cache, manifest)
    have = shard_numbers(cache, EXTRACT)
    return [
        shard
        for shard in range(part[0], manifest.num_shards, part[1])
        if shard not in have
        or not is_extracted(cache, shard, manifest.shard_sha256(shard), params, overwrite=overwrite)
    ]


def is_extracted(
    cache: Path,
    shard: int,
    lines_sha256: str,
    params: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> bool:
    """Tell from its header whether a shard is done as asked for, its audio too.

    Args:
        cache: Cache folder.
        shard: Its number.
        lines_sha256: Digest of its manifest lines.
        params: Parameters asked for.
        overwrite: A shard of other parameters, or of another stage version, is not done, instead of
            an error.

    Raises:
        CacheCorruptError: If the shard was made with those, belongs to another
            manifest, or its header is damaged.
    """
    path = shard_path(cache, EXTRACT, shard)
    try:
        header = read_header(path)
    except FileNotFoundError:
        return False
    if header.inputs.get(MANIFEST) != lines_sha256:
        raise CacheCorruptError(
            f"{path} belongs to another manifest; run {advice('verify --repair', path)}"
        )
    difference = params_difference(
        {**header.params, "stage_version": header.stage_version},
        {**params, "stage_version": STAGE_VERSION},
    )
    if difference:
        if overwrite:
            return False
        raise CacheCorruptError(f"{path} {_other_params(*difference)}")
    if is_dropped(cache, AUDIO):
        return True
    try:
        audio = read_header(shard_path(cache, AUDIO, shard))
    except FileNotFoundError:
        return False
    return audio.sha256 == header.companions.get(AUDIO)


def _other_params(name: str, found: Any, wanted: Any) -> str:
    """Say which parameter differs, and the three ways out."""
    if name == "stage_version":
        same = "install the avpipe it was made with"
    elif name == "decoder_version":
        same = "install the version it was made with"
        if str(found).startswith("av "):
            same = f"`pip install av=={found.split(',')[0].removeprefix('av ')}`"
    else:
        if name == "frame":  # whose default no header says
            found, wanted = found or FRAME, wanted or FRAME
        same = f"give --{name.replace('_', '-')} {found}"
    return (
        f"was made with {name.replace('_', ' ')} {found}, this run has {wanted}: {same}, or name "
        "another --cache, or --overwrite to make it again"
    )
