"""`SHA256SUMS` of a folder: what `sha256sum -c` reads, and whether it is itself still whole.

Comments in it say with which options a command made the folder, and what its own digest is.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ..reading import open_regular, read_regular

SUMS = "SHA256SUMS"
_MADE = "# made with: "
_LAST = "# sha256 of all before: "
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def sums_text(
    folder: Path, names: Collection[str], made: Collection[str], options: str | None
) -> str:
    """Return the sums of a folder's files.

    A file that was there before keeps the sum it had: damage in it is not taken for its content.

    Args:
        folder: The folder.
        names: Its files, as paths below it.
        made: Those that were made now.
        options: What the command was given, as a shell takes it; None where nobody knows.
    """
    before: Mapping[str, str] = {}
    with suppress(OSError, ValueError):
        before = read_sums(folder)
    kept = {name: before[name] for name in before if name not in made}
    sums = {name: kept.get(name) or _sha256(folder / name) for name in sorted(names)}
    if options is None:
        options = made_with(folder)
    text = f"{_MADE}{options}\n" if options is not None and options.isprintable() else ""
    text += "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    return text + _last_line(text)


def read_sums(folder: Path) -> dict[str, str]:
    """Return the sha256 (hex) of each file of a folder, by its path below the folder.

    Raises:
        FileNotFoundError: There are none.
        ValueError: The file is damaged.
    """
    found = (_LINE.fullmatch(line) for line in _whole_text(folder).splitlines())
    return {line[2]: line[1] for line in found if line}


def made_with(folder: Path) -> str | None:
    """Return the options that a folder was made with; None where that cannot be told."""
    with suppress(OSError, ValueError):
        lines = _whole_text(folder).splitlines()
        return next((line.removeprefix(_MADE) for line in lines if line.startswith(_MADE)), None)
    return None


def summed_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every file that the sums list, and themselves: what is wrong with it, "" for nothing.

    Nothing where there are no sums.
    """
    try:
        sums = read_sums(folder)
    except FileNotFoundError:
        return
    except ValueError as error:
        yield SUMS, str(error)
        return
    yield SUMS, ""
    for name, expected in sums.items():
        yield name, file_problem(folder / name, expected)


def file_problem(path: Path, expected: str) -> str:
    """Return what is wrong with a file of which the sha256 is known."""
    try:
        return "" if _sha256(path) == expected else f"content does not match its sha256 in {SUMS}"
    except FileNotFoundError:
        return "missing"
    except ValueError as error:
        return f"no name of a file ({error})"
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return error.strerror or ""


def names_in_sums(folder: Path) -> set[str]:
    """Return the files that sums name, be they damaged; none where there are none."""
    try:
        text = read_regular(folder / SUMS).decode("utf-8", "replace")
    except OSError:
        return set()
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {line[2] for line in found if line}


def is_summed(folder: Path, name: str, content: bytes) -> bool:
    """Whether sums say that a file, which may be gone, has this content."""
    with suppress(OSError, ValueError):
        return read_sums(folder).get(name) == hashlib.sha256(content).hexdigest()
    return False


def _whole_text(folder: Path) -> str:
    content = read_regular(folder / SUMS).decode("utf-8")
    text, mark, _ = content.rpartition(_LAST)
    if not mark or content != text + _last_line(text):
        raise ValueError("its content does not match the sha256 of its last line")
    return text


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_line(text: str) -> str:
    return f"{_LAST}{hashlib.sha256(text.encode()).hexdigest()}\n"
