"""What the user named (folders, files, lists) becomes a sorted list of candidate clips.

A clip that is named and not there stays a candidate, so that it ends as failed with a reason
instead of vanishing.
"""

# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH116, PTH118, PTH120, PTH122 - millions of paths stay plain strings

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

from ...cache.addresses import (
    address_below,
    archive_in,
    host_of,
    is_address,
    is_other_address,
    joined,
)
from ...cache.clip_ids import wrong_with_id
from ...cache.segment import line_text
from ...errors import InputError, Reason, UsageError
from .by_id import Files
from .elsewhere import (
    FoundAway,
    SeenFile,
    clip_inside,
    clips_at,
    is_archive,
    is_one_file,
    is_there,
    look_elsewhere,
    parsed,
    require_there,
)
from .folders import find_clips
from .garbage import uncollected
from .layouts import PICTURES, SOUNDS
from .lists import (
    LIST_SUFFIXES,
    VIDEO_SUFFIXES,
    Entry,
    bare_entry,
    is_table,
    read_entries,
    read_names,
    require_no_packed,
    require_no_table,
    shown,
    suffix_of,
)
from .plain_paths import plain_sizes
from .settings import ID_FROM, IdFrom

MISSING_SUFFIX = ".mp4"
"""An id without a file is recorded under this name, and fails as `missing`."""


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


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found.

    Attributes:
        candidates: Sorted by path bytes.
        ignored: How many other files were left alone, by suffix.
        notices: What people should know of the choice.
    """

    candidates: list[Candidate]
    ignored: dict[str, int]
    notices: list[str] = field(default_factory=list)


def scan(inputs: Sequence[str], *, root: str | None = None, id_from: IdFrom = ID_FROM) -> Scan:
    """Find the clips in folders, files and lists.

    Args:
        inputs: folders (searched with all below them), lists (`.txt`, `.csv`, `.tsv`), or files,
            which are tried as clips whatever their suffix; tars, and addresses of folders, tars and
            videos.
        root: folder, address or tar that paths and ids in lists are relative to; default: the
            folder of each list.
        id_from: `stem`, or `path` for the path below the root with `/` written `__`.

    Raises:
        InputError: an input is not there, unreadable, neither folder nor file, or a kind of list
            that is not read; a list is wrong, or names a clip that several files were cut to; no
            clip was found at all; a host does not answer, or wants credentials.
        UsageError: unknown `id_from`; a `root` and no list whose paths could start there; names
            that are not ASCII, in a locale whose encoding is not UTF-8.
    """
    if id_from not in get_args(IdFrom):
        raise UsageError(f"id_from must be 'stem' or 'path', not {id_from!r}")
    if root is not None and not any(_is_list(name) for name in inputs):
        raise UsageError(f"--root {shown(root)}: is for lists (.txt, .csv, .tsv); name one")
    with uncollected():
        return _scan(inputs, root, id_from)


def _scan(inputs: Sequence[str], root: str | None, id_from: IdFrom) -> Scan:
    candidates: list[Candidate] = []
    ignored: Counter[str] = Counter()
    notices: list[str] = []
    visited: set[tuple[int, int]] = set()
    named: set[str] = set()  # files at addresses; those of lists fail as clips
    only_folders = True
    for name in inputs:
        if is_address(name) or is_other_address(name):
            only_folders = False
            place = parsed(name)
            if is_one_file(place):
                named.add(place)
            found = clips_at(place, ignored, notices)
            candidates.extend(_as_candidates(found, id_from))
            continue
        path = os.path.abspath(name)
        if inside := archive_in(path):
            only_folders = False
            candidates.extend(_as_candidates([clip_inside(*inside)], id_from))
            continue
        mode = _mode(name)
        if stat.S_ISDIR(mode):
            candidates.extend(_from_folder(path, id_from, visited, ignored, notices))
            continue
        only_folders = False
        if not stat.S_ISREG(mode):
            raise InputError(f"{shown(name)}: a FIFO, socket or device; name a folder or a file")
        if _is_list(path):
            candidates.extend(_from_list(path, _list_root(path, root), id_from, notices))
        elif is_archive(path):
            found = clips_at(path, ignored, notices)
            candidates.extend(_as_candidates(found, id_from))
        else:
            require_no_table(path)
            folder, base = os.path.split(path)
            candidates.append(_candidate(folder, base, _size(path), id_from))
    if not only_folders:  # folders alone share no file: each real folder is visited once
        candidates = list(_distinct(candidates, id_from))
        for at, seen in look_elsewhere(candidates):
            candidates[at] = _seen_away(candidates[at], seen)
            named.discard(joined(candidates[at].root, candidates[at].path))
        for place in sorted(named):
            require_there(place)
    if not candidates:
        raise InputError(_nothing(inputs, ignored))
    _require_utf8(candidates)
    return Scan(_sorted(candidates), dict(sorted(ignored.items())), notices)


def _require_utf8(candidates: Sequence[Candidate]) -> None:
    """Refuse names that this process does not read as UTF-8: one clip would get two ids.

    Python reads them so unless a locale of another encoding is asked for.

    Raises:
        UsageError: Naming the first.
    """
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return
    if odd := next((one.path for one in candidates if not one.path.isascii()), None):
        raise UsageError(
            f"{shown(odd)}: this shell's names are {encoding}, and with UTF-8 the same clip would "
            "have another id: put PYTHONUTF8=1 before the command"
        )


def _is_list(name: str) -> bool:
    """Whether an input is a list, unless it turns out to be a folder."""
    return suffix_of(name) in LIST_SUFFIXES


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except NotADirectoryError as error:
        raise InputError(_below_a_file(path)) from error
    except FileNotFoundError as error:
        raise InputError(_not_there(path)) from error
    except OSError as error:
        raise InputError(f"{shown(path) or repr(path)}: {error.strerror}") from error


def _not_there(path: str) -> str:
    """Say where a file or folder was looked for, or what is there that is called almost so."""
    wanted = Path(path)
    said = f"{shown(path) or repr(path)}: No such file or directory"
    with suppress(OSError):
        names = [one.name for one in wanted.absolute().parent.iterdir()]
        if near := get_close_matches(wanted.name, names, 1):
            return f"{said}; did you mean {shown(str(wanted.with_name(near[0])))}?"
    return said if wanted.is_absolute() else f"{said} in {shown(str(Path.cwd()))}"


def _below_a_file(path: str) -> str:
    """Say what can be named instead of a path that leads on behind a file.

    Raises:
        InputError: The file is a table, or packed: which of what is in it could be read?
    """
    file = os.path.dirname(path)
    while file and not os.path.exists(file):
        file = os.path.dirname(file)
    require_no_packed(file)
    return f"{shown(path)}: {shown(file)} is a file, nothing lies below it: name it itself"


def _list_root(path: str, root: str | None) -> str:
    if root is None:
        return os.path.dirname(path)
    if is_address(root) or is_other_address(root):
        return parsed(root)
    if is_archive(root) and os.path.isfile(root):
        return os.path.abspath(root)
    if not stat.S_ISDIR(_mode(root)):
        raise InputError(f"{shown(root)}: --root must be a folder")
    with suppress(PermissionError), os.scandir(root) as entries:
        if next(entries, None) is None:
            raise InputError(f"{shown(root)}: --root is empty: is the disk mounted?")
    return os.path.abspath(root)


def _nothing(inputs: Sequence[str], ignored: Counter[str]) -> str:
    where = ", ".join(shown(name) for name in inputs) or "no input given"
    if inputs and all(_is_list(name) and os.path.isfile(name) for name in inputs):
        return f"{where}: no clips found: the list has no lines, or none below its header"
    left = ", ".join(
        f"{count} {suffix or '(no suffix)'}" for suffix, count in sorted(ignored.items())
    )
    videos = " ".join(sorted(VIDEO_SUFFIXES))
    found = f"{where}: no clips found" + (f" (left alone: {left})" if left else "")
    if ".tar" in ignored:
        return f"{found}; name the .tar themselves"
    for folder in (os.path.abspath(name) for name in inputs):
        above, name = os.path.split(folder)
        if name == "frames" and ".jpg" in ignored and os.path.isdir(os.path.join(above, "audio")):
            return f"{found}; for pictures with their sounds name {shown(above)}"
    if ignored.keys() & PICTURES and ignored.keys() & SOUNDS:
        return f"{found}; a table with the columns path and audio_path gives pictures their sounds"
    if ignored.keys() & PICTURES:
        return found
    return f"{found}; videos are looked for by their suffixes: {videos}"


def _sorted(candidates: list[Candidate]) -> list[Candidate]:
    """Sort in place by path bytes, then root, then start: stable sorts spare a tuple per clip."""
    candidates.sort(key=lambda clip: clip.start_s or 0.0)
    candidates.sort(key=attrgetter("root"))
    key = path_key(candidates)
    candidates.sort(key=attrgetter("path") if key is str else lambda clip: key(clip.path))
    return candidates


def path_key(candidates: Sequence[Candidate]) -> Callable[[str], Any]:
    """Return what orders the candidates' paths among all others as their bytes do.

    Text orders as its bytes where one of two is ASCII, and takes no second copy of each.
    """
    return str if all(clip.path.isascii() for clip in candidates) else os.fsencode


def _distinct(candidates: list[Candidate], id_from: IdFrom) -> Iterator[Candidate]:
    """Drop what was named before, under whatever root: the same part of the same files.

    A line that gives its clip another id than its file's name does asks for a clip of its own.
    """
    roots = {clip.root for clip in candidates}
    if len(roots) == 1 and len({clip.path for clip in candidates}) == len(candidates):
        yield from candidates
        return
    outer = _outermost(roots)
    seen: dict[str, set[str | tuple[object, ...]]] = {top: set() for top in outer.values()}
    for clip in candidates:
        top = outer[clip.root]
        name, audio = clip.path, clip.audio_path
        if clip.root != top:
            below = _below(clip.root, top)
            name = os.path.join(below, name)
            audio = None if audio is None else os.path.join(below, audio)
        own_id = None if clip.id == default_id(clip.path, id_from) else clip.id
        details = (audio, clip.start_s, clip.seconds, own_id)
        # the path alone, as key, takes no memory of its own where its root is outermost
        key = name if details == (None, None, None, None) else (name, *details)
        if key not in seen[top]:
            seen[top].add(key)
            yield clip


def _outermost(roots: set[str]) -> dict[str, str]:
    """For each root the outermost of the roots that it lies in: only below that can files meet."""
    outer: dict[str, str] = {}
    top: str | None = None
    for root in sorted(roots, key=lambda root: os.path.join(root, "")):
        if top is None or not _is_below(root, top):
            top = root
        outer[root] = top
    return outer


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


def _candidate(root: str, path: str, size: int, id_from: IdFrom) -> Candidate:
    clip_id = default_id(path, id_from)
    return Candidate(clip_id, root, path, size, clip_id)


def _size(path: str) -> int:
    """Bytes of a regular file; 0 for what is not there (or no file), which extraction reports."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _from_folder(
    root: str,
    id_from: IdFrom,
    visited: set[tuple[int, int]],
    ignored: Counter[str],
    notices: list[str],
) -> Iterator[Candidate]:
    for path, size, audio_path, source in find_clips(root, visited, ignored, notices):
        clip_id = default_id(path, id_from)
        yield Candidate(clip_id, root, path, size, source or clip_id, audio_path)


def _as_candidates(found: Iterable[FoundAway], id_from: IdFrom) -> Iterator[Candidate]:
    """Turn what was found at an address or in a tar into candidates."""
    for one in found:
        clip_id = default_id(one.path, id_from)
        yield CandidateAway(
            clip_id, one.root, "" if one.wrong else one.path, one.bytes, one.source or clip_id,
            one.audio_path, reject=Reason.BAD_ID if one.wrong else None, detail=one.wrong,
            etag=one.etag, offset=one.offset,
        )  # fmt: skip


def _seen_away(clip: Candidate, seen: SeenFile) -> CandidateAway:
    """Return a candidate with what was seen of it where it lies."""
    held = {name: getattr(clip, name) for name in _HELD}
    return CandidateAway(**{**held, "bytes": seen.bytes}, etag=seen.etag, offset=seen.offset)


def _all_below(root: str) -> Iterator[Candidate]:
    """Yield all clips that an id may name."""
    if is_address(root) or is_archive(root):
        return _as_candidates(clips_at(root, Counter(), []), "stem")
    return _from_folder(root, "stem", set(), Counter(), [])


def _from_list(path: str, root: str, id_from: IdFrom, notices: list[str]) -> Iterator[Candidate]:
    files: Files | None = None

    def asked_for(entry: Entry) -> Candidate:
        nonlocal files
        try:
            clip = None if entry.path is None else _by_path(entry.path, root, id_from)
        except InputError as error:  # an address that cannot be used
            raise InputError(f"{shown(path)}: {error}") from error
        if clip is None:
            if files is None:  # one walk, and only when something must be looked for
                below = list(_all_below(root))
                files = Files(_sorted(below))
            clip = _by_id(entry, root, files)
        return _described(clip, entry, root)

    if is_table(path):
        yield from map(asked_for, read_entries(path))
    else:
        for name, size in plain_sizes(read_names(path), root):
            if size is None and is_archive(name):
                found = clips_at(_whole_path(root, name), Counter(), notices)
                yield from _as_candidates(found, id_from)
            elif size is None:
                yield asked_for(bare_entry(name))
            else:
                clip_id = default_id(name, id_from)
                yield Candidate(clip_id, root, name, size, clip_id)
    if files is not None:
        notices.extend(f"{shown(path)}: {notice}" for notice in files.notices())


def _by_path(path: str, root: str, id_from: IdFrom) -> Candidate | None:
    """The clip at a path; None for a bare name that is not directly below the root."""
    if "\0" in path:
        clip_id = default_id(path, id_from)
        detail = "the path holds a NUL"
        return Candidate(clip_id, root, "", 0, clip_id, reject=Reason.BAD_ID, detail=detail)
    full = _whole_path(root, path)
    if is_address(full):
        if "/" not in path and not is_there(full):
            return None
        home = root if _is_below(full, root) else host_of(full)
        return _candidate(home, _below(full, home), 0, id_from)  # whose size is asked for later
    if "/" not in path and not (os.path.lexists(full) or (archive_in(full) and is_there(full))):
        return None
    home = root if _is_below(full, root) else os.path.dirname(full)
    return _candidate(home, _below(full, home), _size(full), id_from)


def _whole_path(root: str, path: str) -> str:
    """Return what a list names, by a path below its root, an absolute path or an address."""
    if is_address(path) or is_other_address(path):
        return parsed(path)
    if is_address(root) and not path.startswith("/"):
        return address_below(root, path)
    return os.path.normpath(path if path.startswith("/") else f"{root.rstrip('/')}/{path}")


def _is_below(full: str, folder: str) -> bool:
    return full.startswith(folder.rstrip("/") + "/")


def _below(full: str, folder: str) -> str:
    """The path below a folder that it lies in, without the cost of `os.path.relpath`."""
    return full[len(folder.rstrip("/")) + 1 :]


def _by_id(entry: Entry, root: str, files: Files) -> Candidate:
    """The file that carries an id (or a bare file name), or the name it should have had.

    A file cut to the clip comes before the whole video that it was cut from.
    """
    name = entry.id or "" if entry.path is None else entry.path
    if wrong := wrong_with_id(name):
        return Candidate(name, root, "", 0, name, reject=Reason.BAD_ID, detail=wrong)
    is_file_name = suffix_of(name) in VIDEO_SUFFIXES
    clip_id = os.path.splitext(name)[0] if is_file_name else name
    if clip := files.whole(clip_id):
        return clip
    if clip := files.cut(clip_id):
        return replace(clip, id=clip_id, source=clip_id)
    if clip := files.whole(entry.uncut):
        return replace(clip, start_s=entry.start_s, seconds=entry.seconds)
    full = os.path.join(root, name)
    if os.path.isfile(full):
        return Candidate(clip_id, root, name, _size(full), clip_id)
    path = name if is_file_name else name + MISSING_SUFFIX
    return Candidate(clip_id, root, path, 0, clip_id, detail=files.looked_for(clip_id, entry.uncut))


def _described(clip: Candidate, entry: Entry, root: str) -> Candidate:
    """The clip with what its line says about it."""
    clip_id = clip.id if entry.id is None else entry.id
    if entry.is_bare and clip_id == clip.id:
        return clip
    audio_path = clip.audio_path
    if entry.audio_path is not None:
        full = _whole_path(root, entry.audio_path)
        audio_path = _below(full, clip.root) if _is_below(full, clip.root) else full
    span = clip if entry.uncut is not None else entry
    wrong = wrong_with_id(clip_id)
    described = Candidate(
        id=clip_id,
        root=clip.root,
        path=clip.path,
        bytes=clip.bytes,
        source=entry.source or clip_id,
        audio_path=audio_path,
        start_s=span.start_s,
        seconds=span.seconds,
        label=entry.label,
        reject=Reason.BAD_ID if wrong else clip.reject,
        detail=wrong or clip.detail,
    )
    if isinstance(clip, CandidateAway):
        return _seen_away(described, SeenFile(clip.bytes, clip.etag, clip.offset))
    return described
