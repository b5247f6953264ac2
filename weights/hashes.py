"""Hashes of pretrained files, and the record of those that nobody has published.

A record is what `sha256sum` writes of the file: 64 hex digits and its name.
"""

from __future__ import annotations

import errno
import hashlib
import re
from contextlib import suppress
from pathlib import Path

from ..drafts import write_whole
from ..errors import CacheUnwritableError
from ..reading import read_regular

_BLOCK = 1 << 20
_RECORD = re.compile(rb"\\?([0-9a-f]{64})(?:[ \t]+\*?[^\r\n]+)?\s*", re.IGNORECASE)


def file_hash(path: Path, kind: str) -> str:
    """Return a file's `md5` or `sha256` in hex."""
    state = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def record_of(path: Path) -> Path:
    """Return where a file's sha256 is written down once it was used, as `sha256sum` writes it."""
    return path.with_name(f"{path.name}.sha256")


class DamagedRecordError(Exception):
    """A record is there and is no record."""


def recorded(path: Path) -> str | None:
    """Return `sha256:...` as recorded, or None where the file was never used.

    Raises:
        DamagedRecordError: What is recorded is not a whole sha256.
    """
    try:
        found = _RECORD.fullmatch(read_regular(record_of(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ENXIO):
            raise
        found = None
    if found is None:
        raise DamagedRecordError
    return f"sha256:{found[1].decode().lower()}"


def record(path: Path, sha256: str) -> None:
    """Write down what the file was when a network was first built from it, whole or not at all."""
    with suppress(CacheUnwritableError):  # one shared read-only cannot remember; no harm
        write_whole(record_of(path), f"{sha256}  {path.name}\n".encode("utf-8", "surrogateescape"))
