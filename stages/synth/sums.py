"""`SHA256SUMS` of a world: what `sha256sum -c` reads, and whether it is itself still whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

SUMS = "SHA256SUMS"
_LAST = "# sha256 of all before: "
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def sums_text(world: Path, names: Collection[str], made: Collection[str]) -> str:
    """Return the sums of a world's files.

    A file that was there before keeps the sum it had: damage in it is not taken for its content.

    Args:
        world: The world's folder.
        names: Its files, as paths below the folder.
        made: Those that were made now.
    """
    try:
        before: Mapping[str, str] = read_sums(world)
    except (OSError, ValueError):
        before = {}
    kept = {name: before[name] for name in before if name not in made}
    sums = {name: kept.get(name) or _sha256(world / name) for name in sorted(names)}
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    return text + _last_line(text)


def read_sums(world: Path) -> dict[str, str]:
    """Return the sha256 (hex) of each file of a world, by its path below the folder.

    Raises:
        FileNotFoundError: An older version made the world.
        ValueError: The file is damaged.
    """
    content = (world / SUMS).read_bytes().decode("utf-8")
    text, mark, _ = content.rpartition(_LAST)
    if not mark or content != text + _last_line(text):
        raise ValueError("its content does not match the sha256 of its last line")
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {line[2]: line[1] for line in found if line}


def world_files(world: Path) -> Iterator[tuple[str, str]]:
    """Yield every file that a world lists, and what is wrong with it, "" for nothing."""
    sums = {}
    try:
        sums = read_sums(world)
        yield SUMS, ""
    except ValueError as error:
        yield SUMS, str(error)
    for name, expected in sums.items():
        yield name, file_problem(world / name, expected)


def file_problem(path: Path, expected: str) -> str:
    """Return what is wrong with a file of which the sha256 is known."""
    try:
        return "" if _sha256(path) == expected else f"content does not match its sha256 in {SUMS}"
    except FileNotFoundError:
        return "missing"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _last_line(text: str) -> str:
    return f"{_LAST}{hashlib.sha256(text.encode()).hexdigest()}\n"
