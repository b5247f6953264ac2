"""Reading what benchmarks are made of: lists, boxes as JSON or XML, pairs that do not belong."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...reading import open_regular, parse_json, parse_xml, read_regular
from ..benchmarks import Pair
from ..score.binarize import Floats
from .whole import clips_text, whole_boxes


@dataclass(frozen=True)
class Boxes:
    """The true boxes of clips.

    Attributes:
        by_clip: `(k, 4)` x1, y1, x2, y2 of each clip: shares of the sides, or pixels.
        labels: Class of each clip, where the file has one.
        notices: Lines about boxes that are broken.
        left_out: Clips that should have boxes and have no file.
    """

    by_clip: dict[str, Floats]
    labels: dict[str, str]
    notices: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def short_of(path: Path, num_found: int, num_published: int, what: str) -> tuple[str, ...]:
    """Return a line if a list does not have as many clips, or others, as the published one."""
    if num_found == num_published:
        return ()
    return (f"{path} has {num_found:,} {what}, the published test {num_published:,}",)


def find_file(annotations: Path, *names: str) -> Path:
    """Return the first file of these names in a folder, or in the folder of a file.

    Raises:
        InputError: If there is none; the line names them.
    """
    folder = annotations.parent if annotations.is_file() else annotations
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder} has no {' and no '.join(names)}; --annotations names the folder of a "
        "benchmark's files, or a file in it"
    )


def read_rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """Read a CSV with a header.

    Raises:
        InputError: If it cannot be read, its header or a line lacks one of the columns, or a line
            has more cells than the header.
    """
    try:
        with TextIOWrapper(open_regular(path), "utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or (), list(reader)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: no CSV ({error})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    for line in ({name: name for name in header}, *rows):
        if absent := [name for name in columns if line.get(name) is None]:
            raise InputError(f"{path}: a line without {absent[0]}")
        if None in line:  # the reader's name for cells of no column
            raise InputError(f"{path}: a line with more than the {len(header)} cells of its header")
    return rows


def read_negatives(path: Path) -> list[Pair]:
    """Read pairs of a frame and a sound of nothing in it: a CSV with columns video and audio.

    Raises:
        InputError: If it cannot be read, a line lacks one of them, or a pair comes twice.
    """
    pairs = [Pair(row["video"], row["audio"]) for row in read_rows(path, "video", "audio")]
    refuse_twice(path, [f"{video} with {audio}" for video, audio in pairs])
    return pairs


def flag(path: Path, row: Mapping[str, str], column: str) -> bool:
    """Return a cell that says yes or no, 1 or 0.

    Args:
        path: The file, for the message.
        row: A line of it, which has the column.
        column: Which.

    Raises:
        InputError: If it says something else.
    """
    if row[column] not in ("0", "1"):
        raise InputError(f"{path}: {column} is {row[column]!r}, neither 0 nor 1")
    return row[column] == "1"


def read_list(path: Path) -> list[str]:
    """Read the ids of a test list: one a line, what follows a comma is left alone.

    Raises:
        InputError: If it cannot be read, is empty, or an id comes twice.
    """
    try:
        lines = read_regular(path).decode().splitlines()
    except ValueError as error:
        raise InputError(f"{path}: no list ({error})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    ids = [name for line in lines if (name := line.partition(",")[0].strip())]
    if not ids:
        raise InputError(f"{path} is empty")
    refuse_twice(path, ids)
    return ids


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read pairs of clips: lines `id,class,id,class` without a header.

    Raises:
        InputError: The file cannot be read, is empty, a line is another, or a pair comes twice.
    """
    try:
        with TextIOWrapper(open_regular(path), "utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: no CSV ({error})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not rows:
        raise InputError(f"{path} is empty")
    if wrong := [row for row in rows if len(row) != 4]:
        raise InputError(f"{path}: {','.join(wrong[0])!r} is not id,class,id,class")
    pairs = [(row[0], row[2]) for row in rows]
    refuse_twice(path, [f"{one} with {other}" for one, other in pairs])
    return pairs


def read_json_boxes(path: Path, only: Collection[str] | None = None) -> Boxes:
    """Read boxes in the format of VGG-SS: `[{"file", "class", "bbox": [[x1, y1, x2, y2], ...]}]`.

    Some of the released boxes overflowed: they are clipped to the frame, as the peers do. A clip
    whose boxes then have no area stays in the test, where nothing can be right about it.

    Args:
        path: The file.
        only: The clips wanted, if not all; nothing is told of others.

    Raises:
        InputError: If it cannot be read, or is no such file.
    """
    try:
        entries = parse_json(read_regular(path))
        names = [str(entry["file"]) for entry in entries]
        boxes = {name: _corners(entry["bbox"]) for name, entry in zip(names, entries, strict=True)}
        labels = {
            name: str(entry.get("class", "")) for name, entry in zip(names, entries, strict=True)
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not the boxes of clips ({error!r})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not names:
        raise InputError(f"{path} is empty")
    refuse_twice(path, names)
    if only is not None:
        wanted = set(only)
        boxes = {name: own for name, own in boxes.items() if name in wanted}
    whole, lines = whole_boxes(path.name, boxes)
    return Boxes(whole, labels, lines)


def _corners(values: Any) -> Floats:
    """Return the boxes of an entry, `(k, 4)`; four bare numbers are another format's one box."""
    boxes = np.asarray(values, np.float64)
    if boxes.size and boxes.shape[1:] != (4,):
        raise ValueError(f"{values} are not boxes of four numbers each")
    return boxes.reshape(-1, 4)


def read_xml_boxes(folder: Path, ids: Sequence[str], frame_px: int) -> Boxes:
    """Read the boxes of Flickr-SoundNet, `<id>.xml` in the folder or in one inside it.

    The root's children are annotators; each holds `bbox` elements, whose children are a name and
    xmin, ymin, xmax, ymax in pixels of the frame.

    Args:
        folder: Where the files are.
        ids: The clips wanted; those without a file are left out and told.
        frame_px: Side of the frame.

    Raises:
        InputError: If no clip has a file, a file is none of this kind, or a clip has two.
    """
    files: dict[str, Path] = {}
    wanted = set(ids)
    for path in sorted(path for form in ("*.xml", "*/*.xml") for path in folder.glob(form)):
        if files.setdefault(path.stem, path) is not path and path.stem in wanted:
            raise InputError(f"{path} and {files[path.stem]}: two files of a clip; remove one")
    have = [name for name in ids if name in files]
    if not have:
        raise InputError(f"{folder} holds no boxes: there is no <id>.xml of {ids[0]} or another id")
    boxes, lines = whole_boxes(
        str(folder), {name: _xml_boxes(files[name]) for name in have}, frame_px
    )
    absent = tuple(name for name in ids if name not in files)
    if absent:
        lines = (f"{folder}: {clips_text(absent)} without an XML file, left out", *lines)
    return Boxes(boxes, {}, lines, absent)


def _xml_boxes(path: Path) -> Floats:
    try:
        root = parse_xml(read_regular(path))
        corners = [
            [int(value.text or "") for value in list(box)[1:5]]
            for annotator in root
            for box in annotator
            if box.tag == "bbox"
        ]
        return np.array(corners, np.float64).reshape(-1, 4)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: not the boxes of annotators ({error})") from None
    except OSError as error:
        raise unreadable(path, error) from None


def refuse_twice(path: Path, ids: Sequence[str]) -> None:
    """Refuse a list that has an id twice.

    Raises:
        InputError: It has.
    """
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InputError(f"{path}: {name} comes twice")
        seen.add(name)


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error of a file that the disk does not give."""
    return InputError(f"{path} cannot be read ({error.strerror})")
