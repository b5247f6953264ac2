"""The bytes of one file: an object, or a member of a tar, local or at an address."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path
from typing import IO, Any

from ...cache.addresses import is_address
from ...errors import ClipError, Reason
from ...reading import open_regular
from .archives import require_member
from .reach import PassingError, Version, patiently, place_of
from .tar import plain_name

MOST_BYTES = 4 << 30
"""A clip has to fit a temporary folder; larger files are `too_large`."""
LONGEST_S = 900.0
"""Then a clip's bytes have to be there, however steadily they come."""
_COPIED_AT_ONCE = 1 << 20
_HEADER = 512


def fetch_member(archive: str, name: str, file: IO[bytes], seen: Version, offset: Any) -> None:
    """Fetch a member of a tar; where planning saw it is tried first.

    A local tar may have been written anew since: then the member is looked for. So is one at an
    address whose host does not say whether it was.
    """
    size, etag = seen
    if not is_address(archive):
        if not (isinstance(offset, int) and _is_header(archive, offset - _HEADER, name, size)):
            offset, found, _ = require_member(archive, name)
            _require_same(Version(found), seen)
            size = found
        _copy(archive, offset, size, file)
        return
    if not isinstance(offset, int) or etag is None:
        offset, found, version = require_member(archive, name)
        _require_same(Version(found), Version(size))
        size, etag = found, version.etag
    fetch(archive, file, wanted=Version(0, etag), start=offset, stop=offset + size)


def _is_header(archive: str, at: int, name: str, size: int) -> bool:
    """Whether the header of a file of that name and size lies at a place of a local tar.

    Long names, and many that are not ASCII, stand in headers of their own: those are not seen here.
    """
    if at < 0:
        return False
    with open_regular(Path(archive)) as file:
        try:
            file.seek(at)
            header = tarfile.TarInfo.frombuf(file.read(_HEADER), "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError):
            return False
    return (plain_name(header.name), header.size) == (name, size)


def _copy(archive: str, offset: int, size: int, file: IO[bytes]) -> None:
    """Copy a part of a local tar."""
    _require_small(size)
    with open_regular(Path(archive)) as whole:
        whole.seek(offset)
        left = size
        while left and (chunk := whole.read(min(left, _COPIED_AT_ONCE))):
            file.write(chunk)
            left -= len(chunk)
    if left:
        raise ClipError(Reason.TRUNCATED, "the tar ends inside it")


def fetch(
    address: str, file: IO[bytes], *, wanted: Version, start: int = 0, stop: int | None = None
) -> None:
    """Fetch an object, or a part of it; what came stays when the connection ends, and it goes on.

    Args:
        address: Of the object.
        file: Empty.
        wanted: The version that was planned; unknown parts of it are not compared.
        start: First byte of the part.
        stop: Behind its last byte; None for the object's end.

    Raises:
        ClipError: It has changed, or is too large. Else as `Place.read`.
    """
    if start == stop:
        return
    began: list[Version] = []
    deadline = time.monotonic() + LONGEST_S

    def try_once() -> None:
        with place_of(address).read(address, start + file.tell(), stop) as part:
            _require_same(part.version, wanted)
            if began and part.version != began[0]:
                file.seek(0)
                file.truncate()
                began[:] = []
                raise PassingError("it changed while it was fetched")
            began[:] = [part.version]
            if stop is not None and part.version.bytes and stop > part.version.bytes:
                raise ClipError(Reason.TRUNCATED, "the tar ends inside it")
            size = (part.version.bytes or wanted.bytes) if stop is None else stop - start
            _require_small(size)
            for chunk in part.chunks:
                file.write(chunk)
                _require_small(file.tell())
                if time.monotonic() > deadline:
                    raise ClipError(Reason.TIMEOUT, f"its bytes did not come in {LONGEST_S:g} s")
            if file.tell() < size:
                raise PassingError("the connection ended too early")
            _require_same(Version(file.tell()), wanted)

    patiently(try_once, file.tell)


def _require_same(found: Version, wanted: Version) -> None:
    """Refuse another content than was planned: a shard made again is to have the same bytes."""
    for now, planned in zip(found, wanted, strict=True):
        if now and planned and now != planned:
            raise ClipError(Reason.IO_ERROR, "it has changed since it was planned")


def _require_small(size: int) -> None:
    if size > MOST_BYTES:
        raise ClipError(
            Reason.TOO_LARGE, f"more than {MOST_BYTES >> 30} GB, which is the most that is fetched"
        )
