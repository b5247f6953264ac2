"""What lies in an uncompressed tar, and where: one look at every header, nothing is unpacked.

The formats are those of POSIX (ustar and pax) and GNU's long names; of each member only the name
and the place of its bytes are read (IEEE Std 1003.1, pax, "ustar Interchange Format").
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

_BLOCK = 512
_MAX_HEADER = 1 << 20
"""Of a long name or of pax records; a hostile archive may announce terabytes."""
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_PAX = re.compile(rb"(\d{1,20}) ([^=]+)=")
_MOST_DIGITS = 20

ReadAt = Callable[[int, int], bytes]
"""From a position and a length to the bytes there: fewer where the archive ends."""


class NoTarError(Exception):
    """It is no tar, or damaged; says where."""


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        bytes: Its size.
        offset: Where its first byte lies in the archive.
    """

    bytes: int
    offset: int


@dataclass
class Contents:
    """The files of an archive.

    Attributes:
        members: By name, without `./` before it; of several of one name the last, as in unpacking.
        twice: Names that come more than once.
        links: How many members are links, or sparse files: their bytes lie elsewhere.
        is_cut: Whether the archive ends too early.
    """

    members: dict[str, Member] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    links: int = 0
    is_cut: bool = False


@dataclass
class _Said:
    """What headers before a member say about it."""

    name: str | None = None
    size: int | None = None
    is_sparse: bool = False


def contents_of(read_at: ReadAt, size: int) -> Contents:
    """Find the files of an archive.

    Args:
        read_at: Reads the archive.
        size: Bytes of it.

    Raises:
        NoTarError: It is no tar, compressed, or a header in it is damaged.
    """
    found, said = Contents(), _Said()
    at = 0
    while at < size:
        block = read_at(at, _BLOCK)
        if len(block) < _BLOCK:
            found.is_cut = True
            break
        if not block.strip(b"\0"):
            return found
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError):
            raise NoTarError(f"no header of a tar at byte {at}") from None
        if header.size < 0:
            raise NoTarError(f"a negative size at byte {at}")
        length = header.size
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            if length > _MAX_HEADER:
                raise NoTarError(f"a name of {length} bytes at byte {at}")
            _listen(header.type, read_at(at + _BLOCK, length), said, at)
        elif header.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            length = _add(found, header, said, at + _BLOCK)
            said = _Said()
        at += _BLOCK + -(-length // _BLOCK) * _BLOCK
    # writers end an archive with zeros; some leave them out, then it ends with its last member
    found.is_cut |= any(m.offset + m.bytes > size for m in found.members.values()) or at > size
    return found


def _add(found: Contents, header: tarfile.TarInfo, said: _Said, offset: int) -> int:
    """Add a member; return how many bytes lie behind its header."""
    name = header.name if said.name is None else said.name
    if header.type == tarfile.GNUTYPE_SPARSE or said.is_sparse or header.type in _LINKS:
        found.links += 1
        return 0 if header.type in _LINKS else (said.size or header.size)
    if header.type not in _FILES or name.endswith("/"):
        return header.size if header.type in _FILES else 0
    size = header.size if said.size is None else said.size
    name = plain_name(name)
    if name in found.members:
        found.twice.append(name)
    found.members[name] = Member(size, offset)
    return size


def plain_name(name: str) -> str:
    """Return a member's name as it is looked for, without `./` before it."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _listen(kind: bytes, text: bytes, said: _Said, at: int) -> None:
    """Take what a header of its own says about the next member: its name, its size."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        said.name = text.split(b"\0")[0].decode("utf-8", "surrogateescape")
        return
    place = 0
    while place < len(text):
        record = _PAX.match(text, place)
        end = place + int(record[1]) if record else 0
        if record is None or end <= record.end() or text[end - 1 : end] != b"\n":
            raise NoTarError(f"damaged pax records at byte {at}")
        value = text[record.end() : end - 1]
        if record[2] == b"path":
            said.name = value.decode("utf-8", "surrogateescape")
        elif record[2] == b"size" and value.isdigit():
            if len(value) > _MOST_DIGITS:
                raise NoTarError(f"a size of {len(value)} digits at byte {at}")
            said.size = int(value)
        elif record[2].startswith(b"GNU.sparse."):
            said.is_sparse = True
        place = end


def leads_out(name: str) -> bool:
    """Whether a member's name leads out of the folder that the archive would be unpacked into."""
    return name.startswith("/") or ".." in name.split("/") or "\0" in name
