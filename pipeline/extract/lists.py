"""Lists and CSVs of clips: what each line asks for. The files they name are not looked at here."""

from __future__ import annotations

import csv
import errno
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO

from ...errors import InputError
from ...reading import open_regular

LIST_SUFFIXES = frozenset({".txt", ".csv", ".tsv"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".flv", ".ts", ".mpg", ".3gp", ".ogv"}
)
VGGSOUND_SECONDS = 10.0
"""Length of every VGGSound clip (the CSV gives only its start)."""

_TEXT = "name a folder, a video, or a list as .txt or .csv in UTF-8"
_OTHER_TABLES = frozenset({".parquet", ".json", ".jsonl", ".xls", ".xlsx", ".feather", ".pkl"})
_PACKED = frozenset({".gz", ".tgz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_MAGIC = {
    b"PAR1": "a Parquet table",
    b"PK\x03\x04": "an archive or a spreadsheet",
    b"\x1f\x8b": "a compressed file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "a database",
}

_MOST_SECONDS = 1e9
"""Thirty years, which no file lasts."""

_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_RELEASED_ID = re.compile(r"[A-Za-z0-9_-]{11}_\d{6}|\d{6,}")
"""Of clips in the released test lists: VGGSound's, and Flickr's numbers of photos."""
_COLUMNS = ("path", "id", "label", "start_s", "seconds", "source", "audio_path")


@dataclass(slots=True)
class Entry:  # not frozen, which takes three times as long to make: there are millions
    """One line of a list. `path` is as written; without it the file is found by `id`.

    `uncut` is the stem of the longer video that `start_s` and `seconds` cut, used only when no file
    carries `id` itself (VGGSound: `<ytid>_<start>.mp4` is already cut, `<ytid>.mp4` is not).
    """

    path: str | None = None
    id: str | None = None
    label: str | None = None
    start_s: float | None = None
    seconds: float | None = None
    source: str | None = None
    audio_path: str | None = None
    uncut: str | None = None
    is_bare: bool = False
    """Only names its clip, as every line of a `.txt`."""


def shown(path: str) -> str:
    """A path for a one-line message: as it is, or quoted and escaped when it would not print."""
    return path if path.isprintable() else repr(path)


def suffix_of(name: str) -> str:
    """The suffix of a file name in lower case, with its dot; empty when there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def require_no_table(path: str) -> None:
    """Refuse a file named as a clip that is a table, an archive, or another kind of list.

    Raises:
        InputError: it is; a clip of it would fail, and the clips it lists would be lost.
    """
    if suffix_of(path) in _OTHER_TABLES:
        raise InputError(f"{shown(path)}: a table that is not read here; {_TEXT}")
    if suffix_of(path) not in VIDEO_SUFFIXES:
        _require_no_magic(path)


def require_no_packed(path: str) -> None:
    """Refuse by its name what cannot be looked into from here: a table, a packed archive.

    Raises:
        InputError: it is one.
    """
    if suffix_of(path) in _OTHER_TABLES:
        raise InputError(f"{shown(path)}: a table that is not read here; {_TEXT}")
    if suffix_of(path) in _PACKED:
        raise InputError(f"{shown(path)}: packed, which is not read here: unpack it, to a .tar say")


def _require_no_magic(path: str) -> None:
    with suppress(OSError), open_regular(Path(path)) as file:  # whoever reads it says so
        _require_text(file, path)


def _require_text(file: BufferedReader, path: str) -> None:
    """Refuse an open file by its first bytes, which stay to be read.

    Raises:
        InputError: Its magic is that of a table, an archive, or another kind of list.
    """
    begin = file.peek()
    for magic, kind in _MAGIC.items():
        if begin.startswith(magic):
            raise InputError(f"{shown(path)}: {kind}, which is not read here; {_TEXT}")


def read_entries(path: str) -> Iterator[Entry]:
    """Read a list (`.txt`: a path or id per line) or a table (`.csv`, `.tsv`).

    A table has a header with `path` or `id`, or one of three headerless shapes: VGGSound's
    `ytid,start,label,split`; `file,label` whose file ends in a video suffix; and the released test
    lists, ids of VGG-SS or Flickr-SoundNet alone or with a number that nothing uses.

    Args:
        path: the list; UTF-8 with or without BOM, any line ends; other bytes are surrogate-escaped.

    Raises:
        InputError: it cannot be read or is no text, a table lacks the needed column, or a number
            is none.
    """
    if not is_table(path):
        yield from map(bare_entry, read_names(path))
        return
    delimiter = "\t" if suffix_of(path) == ".tsv" else ","
    try:
        # the csv module does its own splitting
        with _opened(path, newline="") as file:
            yield from _table(csv.reader(file, delimiter=delimiter), path)
    except csv.Error as error:
        raise InputError(f"{shown(path)}: not a CSV ({error})") from error


def is_table(path: str) -> bool:
    """Whether a list has columns."""
    return suffix_of(path) != ".txt"


def read_names(path: str) -> Iterator[str]:
    """Read the lines of a list that is no table; empty ones are left out.

    Raises:
        InputError: it cannot be read or is no text.
    """
    # a name may hold a lone CR: lists are split at LF only
    with _opened(path, newline="\n") as file:
        for line in file:
            if name := line.removesuffix("\n").removesuffix("\r"):
                yield name


@contextmanager
def _opened(path: str, newline: str) -> Iterator[TextIO]:
    try:
        with open_regular(Path(path)) as file:
            _require_text(file, path)
            yield TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what comes through a pipe comes once: a run resumes
            raise InputError(
                f"{shown(path)}: a pipe or device, which cannot be read again: write the list into "
                "a file and name that"
            ) from None
        raise InputError(f"{shown(path)}: cannot be read ({error.strerror})") from error


def bare_entry(name: str) -> Entry:
    """A line of a `.txt`: a path when it has a folder or a video suffix, else an id."""
    if "/" in name or suffix_of(name) in VIDEO_SUFFIXES:
        return Entry(path=name, is_bare=True)
    return Entry(id=name, is_bare=True)


def _table(rows: Iterator[list[str]], path: str) -> Iterator[Entry]:
    rows = (row for row in rows if any(row))
    first = next(rows, None)
    if first is None:
        raise InputError(f"{shown(path)}: empty; needs a header with the column 'path' or 'id'")
    if _is_vggsound(first):
        yield _vggsound(first, path)
        yield from (_vggsound(row, path) for row in rows)
        return
    if suffix_of(first[0]) in VIDEO_SUFFIXES:
        yield from (
            Entry(path=row[0], label=_cell(row, 1)) for chunk in ([first], rows) for row in chunk
        )
        return
    if len(first) <= 2 and _RELEASED_ID.fullmatch(first[0]):
        yield from (bare_entry(row[0]) for chunk in ([first], rows) for row in chunk)
        return
    header = [name.strip().lower() for name in first]
    if "path" not in header and "id" not in header:
        found = ", ".join(first)[:80]
        if not found.replace("\t", "").isprintable():
            raise InputError(f"{shown(path)}: is not a text list; name a .txt or .csv in UTF-8")
        raise InputError(f"{shown(path)}: needs a column 'path' or 'id' (found: {shown(found)})")
    at = {name: header.index(name) for name in _COLUMNS if name in header}
    for number, row in enumerate(rows, start=2):
        yield _row({name: _cell(row, index) for name, index in at.items()}, path, number)


def _cell(row: list[str], index: int) -> str | None:
    return (row[index] or None) if index < len(row) else None


def _row(cells: dict[str, str | None], path: str, number: int) -> Entry:
    start_s, seconds = (
        _seconds(cells.get(name), f"{shown(path)}: row {number}: {name}")
        for name in ("start_s", "seconds")
    )
    if seconds is not None and start_s is None:
        start_s = 0.0
    return Entry(
        path=cells.get("path"),
        # An empty id where the column exists was asked for: it is reported as a bad id.
        id=(cells["id"] or "") if "id" in cells else None,
        label=cells.get("label"),
        start_s=start_s,
        seconds=seconds,
        source=cells.get("source"),
        audio_path=cells.get("audio_path"),
    )


def _seconds(text: str | None, where: str) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MOST_SECONDS:
        raise InputError(f"{where} must be a number of seconds, not {text[:80]!r}")
    return value


def _is_vggsound(row: list[str]) -> bool:
    return (
        len(row) == 4
        and _YOUTUBE_ID.fullmatch(row[0]) is not None
        and row[1].isdecimal()
        and row[3] in {"train", "test"}
    )


def _vggsound(row: list[str], path: str) -> Entry:
    if not _is_vggsound(row):
        line = shown(",".join(row)[:80])
        raise InputError(f"{shown(path)}: not a line of VGGSound (ytid,start,label,split): {line}")
    video, start, label, _ = row
    start_s = _seconds(start, f"{shown(path)}: the start of {video}") or 0.0
    return Entry(
        id=f"{video}_{int(start_s):06d}",
        label=label,
        start_s=start_s,
        seconds=VGGSOUND_SECONDS,
        source=video,
        uncut=video,
    )
