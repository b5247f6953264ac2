"""Hashes of pretrained files, and the record of those that nobody has published."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from ..drafts import write_whole
from ..errors import CacheUnwritableError

_BLOCK = 1 << 20


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


def recorded(path: Path) -> str | None:
    """Return `sha256:...` as recorded, or None where the file was never used."""
    try:
        return f"sha256:{record_of(path).read_text(encoding='utf-8').partition(' ')[0].strip()}"
    except (FileNotFoundError, NotADirectoryError):
        return None


def record(path: Path, sha256: str) -> None:
    """Write down what the file was when a network was first built from it."""
    with suppress(CacheUnwritableError):  # one shared read-only cannot remember; no harm
        write_whole(record_of(path), f"{sha256}  {path.name}\n".encode())
