"""Clips to be, before anything of them is decoded: there may be millions."""

# ruff: noqa: PTH116 - millions of paths stay plain strings

from __future__ import annotations

import gc
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from ...cache.segment import line_text
from ...errors import Reason
from .elsewhere import FoundAway, SeenFile
from .folders import find_clips
from .settings import IdFrom


@dataclass(slots=True)
class Candidate:  # not frozen, which takes three times as long to make: there are millions
    """One clip to be: `path`, and `audio_path` where it can, are relative to the folder `root`.

    Names that are not UTF-8 are surrogate-escaped. `path` is empty when no file can have the name
    asked for; `reject` then says why. `bytes` is the size of the file at `path`, 0 when unknown.
    `detail` says in words why it is rejected, or what was looked for and not found. `root` may be
    an address, and `path` lead into a tar: then it is a `CandidateAway`.
    """

    id: str
    root: str
    path: str
    bytes: int
    source: str
    audio_path: str | None = None
    start_s: float | None = None
    seconds: float | None = None
    label: str | None = None
    reject: Reason | None = None
    detail: str | None = None

    @property
    def etag(self) -> str | None:
        """What its host calls its content."""
        return None

    @property
    def offset(self) -> int | None:
        """Where its bytes begin in a tar."""
        return None


@dataclass(slots=True)
class CandidateAway(Candidate):
    """One at an address or in a tar: millions of others need no room for what was seen there."""

    etag: str | None = None
    offset: int | None = None


_HELD = tuple(one.name for one in fields(Candidate))


def candidate_text(one: Candidate, root: int) -> bytes:
    """Return the manifest line of a candidate that is not rejected, in a root of that number."""
    return line_text(
        one.id, root, one.path, one.bytes, one.source,
        one.audio_path, one.start_s, one.seconds, one.label, one.detail, one.etag, one.offset,
    )  # fmt: skip


def default_id(path: str, id_from: IdFrom) -> str:
    """The id of a clip whose list gives it none, from its path below the root.

    Frames that AVSBench names `<video>.mp4_<number>.png` are `<video>_<number>`, as their masks.
    """
    if path.endswith(".png"):
        path = path.replace(".mp4_", "_")
    base = path.rfind("/") + 1
    dot = path.rfind(".")
    if dot > base and (
        path[base] != "." or path[base:dot].strip(".")
    ):  # else there is none, or it is a hidden file's
        path = path[:dot]
    return path.replace("/", "__") if id_from == "path" else path[base:]


def piece_id(clip_id: str, start_s: float) -> str:
    """The id of a clip's piece: the clip's, and the start in milliseconds."""
    return f"{clip_id}_{round(start_s * 1000):09d}"


def uncut_id(clip: Candidate) -> str:
    """The id of the clip that a first piece was cut from; of all others their own."""
    return clip.id.removesuffix(piece_id("", 0.0)) if clip.start_s == 0 else clip.id


def path_key(candidates: Sequence[Candidate]) -> Callable[[str], Any]:
    """Return what orders the candidates' paths among all others as their bytes do.

    Text orders as its bytes where one of two is ASCII, and takes no second copy of each.
    """
    return str if all(clip.path.isascii() for clip in candidates) else os.fsencode


def sort_by_path(candidates: list[Candidate]) -> list[Candidate]:
    """Sort in place by path bytes, then root, then start: stable sorts spare a tuple per clip."""
    candidates.sort(key=lambda clip: clip.start_s or 0.0)
    candidates.sort(key=attrgetter("root"))
    key = path_key(candidates)
    candidates.sort(key=attrgetter("path") if key is str else lambda clip: key(clip.path))
    return candidates


def candidate_of(root: str, path: str, size: int, id_from: IdFrom) -> Candidate:
    """Return a clip by itself, called as its file is."""
    clip_id = default_id(path, id_from)
    return Candidate(clip_id, root, path, size, clip_id)


def size_of(path: str) -> int:
    """Bytes of a regular file; 0 for what is not there (or no file), which extraction reports."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def from_folder(
    root: str,
    id_from: IdFrom,
    visited: set[tuple[int, int]],
    ignored: Counter[str],
    notices: list[str],
) -> Iterator[Candidate]:
    """Yield the clips below a folder; see `find_clips`."""
    for path, size, audio_path, source in find_clips(root, visited, ignored, notices):
        clip_id = default_id(path, id_from)
        yield Candidate(clip_id, root, path, size, source or clip_id, audio_path)


def as_candidates(found: Iterable[FoundAway], id_from: IdFrom) -> Iterator[Candidate]:
    """Turn what was found at an address or in a tar into candidates."""
    for one in found:
        clip_id = default_id(one.path, id_from)
        yield CandidateAway(
            clip_id, one.root, "" if one.wrong else one.path, one.bytes, one.source or clip_id,
            one.audio_path, reject=Reason.BAD_ID if one.wrong else None, detail=one.wrong,
            etag=one.etag, offset=one.offset,
        )  # fmt: skip


def seen_away(clip: Candidate, seen: SeenFile) -> CandidateAway:
    """Return a candidate with what was seen of it where it lies."""
    held = {name: getattr(clip, name) for name in _HELD}
    return CandidateAway(**{**held, "bytes": seen.bytes}, etag=seen.etag, offset=seen.offset)


@contextmanager
def uncollected() -> Iterator[None]:
    """Let no cycle be looked for: planning makes none, and each look is at all candidates."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
