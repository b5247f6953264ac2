"""What a list names becomes candidates: by paths, by ids that files carry, by addresses."""

# ruff: noqa: PTH113, PTH118, PTH120, PTH122 - millions of paths stay plain strings

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from ...cache.addresses import (
    address_below,
    archive_in,
    host_of,
    is_address,
    is_other_address,
)
from ...cache.clip_ids import wrong_with_id
from ...errors import InputError, Reason
from .by_id import Files
from .candidate import (
    Candidate,
    CandidateAway,
    as_candidates,
    candidate_of,
    default_id,
    from_folder,
    seen_away,
    size_of,
    sort_by_path,
)
from .elsewhere import SeenFile, clips_at, is_archive, is_there, parsed
from .lists import (
    VIDEO_SUFFIXES,
    Entry,
    bare_entry,
    is_table,
    read_entries,
    read_names,
    shown,
    suffix_of,
)
from .plain_paths import plain_sizes
from .settings import IdFrom

MISSING_SUFFIX = ".mp4"
"""An id without a file is recorded under this name, and fails as `missing`."""


def from_list(path: str, root: str, id_from: IdFrom, notices: list[str]) -> Iterator[Candidate]:
    """Yield what the lines of a list name, in their order, there or not.

    Args:
        path: The list.
        root: What its paths and ids are relative to.
        id_from: As `scan` takes it.
        notices: What people should know is added.

    Raises:
        InputError: The list is wrong, or names an address that cannot be used.
    """
    files: Files | None = None

    def asked_for(entry: Entry) -> Candidate:
        nonlocal files
        try:
            clip = None if entry.path is None else _by_path(entry.path, root, id_from)
        except InputError as error:  # an address that cannot be used
            raise InputError(f"{shown(path)}: {error}") from error
        if clip is None:
            if files is None:  # one walk, and only when something must be looked for
                files = Files(sort_by_path(list(_all_below(root))))
            clip = _by_id(entry, root, files)
        return _described(clip, entry, root)

    if is_table(path):
        yield from map(asked_for, read_entries(path))
    else:
        for name, size in plain_sizes(read_names(path), root):
            if size is None and is_archive(name):
                found = clips_at(_whole_path(root, name), Counter(), notices)
                yield from as_candidates(found, id_from)
            elif size is None:
                yield asked_for(bare_entry(name))
            else:
                clip_id = default_id(name, id_from)
                yield Candidate(clip_id, root, name, size, clip_id)
    if files is not None:
        notices.extend(f"{shown(path)}: {notice}" for notice in files.notices())


def _all_below(root: str) -> Iterator[Candidate]:
    """Yield all clips that an id may name."""
    if is_address(root) or is_archive(root):
        return as_candidates(clips_at(root, Counter(), []), "stem")
    return from_folder(root, "stem", set(), Counter(), [])


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
        home = root if is_below(full, root) else host_of(full)
        return candidate_of(home, below(full, home), 0, id_from)  # whose size is asked for later
    if "/" not in path and not (os.path.lexists(full) or (archive_in(full) and is_there(full))):
        return None
    home = root if is_below(full, root) else os.path.dirname(full)
    return candidate_of(home, below(full, home), size_of(full), id_from)


def _whole_path(root: str, path: str) -> str:
    """Return what a list names, by a path below its root, an absolute path or an address."""
    if is_address(path) or is_other_address(path):
        return parsed(path)
    if is_address(root) and not path.startswith("/"):
        return address_below(root, path)
    return os.path.normpath(path if path.startswith("/") else f"{root.rstrip('/')}/{path}")


def is_below(full: str, folder: str) -> bool:
    """Whether a path, or an address, lies below a folder."""
    return full.startswith(folder.rstrip("/") + "/")


def below(full: str, folder: str) -> str:
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
        return Candidate(clip_id, root, name, size_of(full), clip_id)
    path = name if is_file_name else name + MISSING_SUFFIX
    return Candidate(clip_id, root, path, 0, clip_id, detail=files.looked_for(clip_id, entry.uncut))


def _described(clip: Candidate, entry: Entry, root: str) -> Candidate:
    """The clip with what its line says about it."""
    clip_id = clip.id if entry.id is None else entry.id
    if entry.is_bare and clip_id == clip.id:
        return clip
    audio_path, wrong = clip.audio_path, wrong_with_id(clip_id)
    if entry.audio_path is not None and "\0" in entry.audio_path:
        wrong = wrong or "the path of its sound holds a NUL"
    elif entry.audio_path is not None:
        full = _whole_path(root, entry.audio_path)
        audio_path = below(full, clip.root) if is_below(full, clip.root) else full
    span = clip if entry.uncut is not None else entry
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
        return seen_away(described, SeenFile(clip.bytes, clip.etag, clip.offset))
    return described
