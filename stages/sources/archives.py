"""Archives, local ones and those at addresses: their contents, read once for a while."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ...cache.addresses import is_address
from ...errors import ClipError, InputError, Reason
from ...reading import open_regular
from .reach import AbsentError, BrokenError, Version, in_words, patiently, place_of
from .tar import Contents, NoTarError, contents_of

_AHEAD = 64 << 10
"""Bytes fetched for a header: often the next one is among them, or the one after it."""


def look(path: str) -> Version:
    """Return what tells an archive's, or another file's, content from the next.

    Raises:
        AbsentError, DeniedError, BrokenError, PassingError: As `Place.look`; a local file lies on
            no host that could be out of reach.
    """
    if is_address(path):
        return patiently(lambda: place_of(path).look(path))
    try:
        found = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        raise AbsentError from None
    return Version(found.st_size, str(found.st_mtime_ns))


def contents(path: str) -> tuple[Contents, Version]:
    """Return what lies in an archive, and the version of it.

    Raises:
        InputError: It cannot be read, or is no tar.
    """
    try:
        with in_words(path):
            version = look(path)
            return _contents(path, version), version
    except NoTarError as error:
        raise InputError(
            f"{path}: not an uncompressed tar, or damaged ({error}): unpack it, or write it anew"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


@lru_cache(16)
def _contents(path: str, version: Version) -> Contents:
    if is_address(path):
        if not version.bytes:
            raise BrokenError("it does not say how large the file is, or it is empty")
        return contents_of(_Ahead(path).read_at, version.bytes)
    with open_regular(Path(path)) as file:
        return contents_of(lambda at, length: os.pread(file.fileno(), length, at), version.bytes)


class _Ahead:
    """Reads an object in parts, each a little longer than what is asked for."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._begin, self._held = 0, b""

    def read_at(self, at: int, length: int) -> bytes:
        """Return what lies there."""
        end = at + length
        if not self._begin <= at <= end <= self._begin + len(self._held):
            self._held = patiently(lambda: self._fetched(at, max(length, _AHEAD)))
            self._begin = at
        return self._held[at - self._begin : end - self._begin]

    def _fetched(self, at: int, length: int) -> bytes:
        with place_of(self._address).read(self._address, at, at + length) as part:
            return b"".join(part.chunks)


def require_member(path: str, name: str) -> tuple[int, int, Version]:
    """Return where a member's bytes lie, how many they are, and the version of its archive.

    Raises:
        ClipError: There is no such member.
        InputError: As `contents`.
    """
    found, version = contents(path)
    member = found.members.get(name)
    if member is None:
        raise ClipError(Reason.MISSING)
    return member.offset, member.bytes, version
