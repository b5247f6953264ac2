"""Which ids a clip may have: those that can name a file of its own."""

from __future__ import annotations

import hashlib

from ..printable import has_escape, printable

_LONGEST = 251
"""Bytes of a file's name that an id may fill; file systems take 255, with `.png` or `.mp4`."""


def is_bad_id(clip_id: str) -> bool:
    """Whether an id could name no file, or one elsewhere."""
    return bool(wrong_with_id(clip_id))


def wrong_with_id(clip_id: str) -> str:
    """Say why no clip can have an id; empty where one can."""
    if "/" not in clip_id and "\0" not in clip_id and clip_id not in ("", ".", ".."):
        return ""  # as nearly all of millions
    if not clip_id:
        return "the id is empty"
    if clip_id in (".", ".."):
        return f"the id is {clip_id}"
    return f"the id holds a {'/' if '/' in clip_id else 'NUL'}"


def file_stem(clip_id: str) -> str:
    """Return an id as the beginning of a file's name, in the folder where it is put.

    Characters that a terminal would act on are escaped, a very long id is cut and numbered. Two ids
    never begin the same name: where escapes are, or what looks like one, a backslash is escaped
    too.

    Raises:
        ValueError: If it could name no file, or one elsewhere.
    """
    if is_bad_id(clip_id):
        raise ValueError(f"no file can be named by the id {clip_id!r}")
    stem = printable(clip_id)
    if stem != clip_id or has_escape(clip_id):
        stem = printable(clip_id.replace("\\", "\\\\"))
    content = stem.encode()
    if len(content) <= _LONGEST:
        return stem
    short = content[: _LONGEST - 9].decode("utf-8", "ignore")
    return f"{short}-{hashlib.sha256(content).hexdigest()[:8]}"
