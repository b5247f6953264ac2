"""What the user named (folders, files, lists) becomes a sorted list of candidate clips.

A clip that is named and not there stays a candidate, so that it ends as failed with a reason
instead of vanishing.
"""

# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH116, PTH118, PTH120 - millions of paths stay plain strings

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from ...cache.addresses import archive_in, is_address, is_other_address, joined
from ...errors import InputError, UsageError
from .candidate import (
    Candidate,
    as_candidates,
    candidate_of,
    default_id,
    from_folder,
    seen_away,
    size_of,
    sort_by_path,
    uncollected,
)
from .elsewhere import (
    clip_inside,
    clips_at,
    is_archive,
    is_one_file,
    look_elsewhere,
    parsed,
    require_there,
)
from .layouts import PICTURES, SOUNDS
from .listed import below, from_list, is_below
from .lists import (
    LIST_SUFFIXES,
    VIDEO_SUFFIXES,
    require_no_packed,
    require_no_table,
    shown,
    suffix_of,
)
from .settings import ID_FROM, IdFrom


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


@uncollected()
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
            candidates.extend(as_candidates(found, id_from))
            continue
        path = os.path.abspath(name)
        if inside := archive_in(path):
            only_folders = False
            candidates.extend(as_candidates([clip_inside(*inside)], id_from))
            continue
        mode = _mode(name)
        if stat.S_ISDIR(mode):
            candidates.extend(from_folder(path, id_from, visited, ignored, notices))
            continue
        only_folders = False
        if not stat.S_ISREG(mode):
            raise InputError(f"{shown(name)}: a FIFO, socket or device; name a folder or a file")
        if _is_list(path):
            candidates.extend(from_list(path, _list_root(path, root), id_from, notices))
        elif is_archive(path):
            found = clips_at(path, ignored, notices)
            candidates.extend(as_candidates(found, id_from))
        else:
            require_no_table(path)
            folder, base = os.path.split(path)
            candidates.append(candidate_of(folder, base, size_of(path), id_from))
    if not only_folders:  # folders alone share no file: each real folder is visited once
        candidates = list(_distinct(candidates, id_from))
        for at, seen in look_elsewhere(candidates):
            candidates[at] = seen_away(candidates[at], seen)
            named.discard(joined(candidates[at].root, candidates[at].path))
        for place in sorted(named):
            require_there(place)
    if not candidates:
        raise InputError(_nothing(inputs, ignored))
    _require_utf8(candidates)
    return Scan(sort_by_path(candidates), dict(sorted(ignored.items())), notices)


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
            inner = below(clip.root, top)
            name = os.path.join(inner, name)
            audio = None if audio is None else os.path.join(inner, audio)
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
        if top is None or not is_below(root, top):
            top = root
        outer[root] = top
    return outer
