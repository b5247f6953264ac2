"""Reading what benchmarks are made of: lists, boxes as JSON or XML, pairs that do not belong."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...reading import parse_json, parse_xml
from ..score.binarize import Floats
from .boxes import corners_px

_FIRST = 3
"""Ids that a line about many of them names."""


@dataclass(frozen=True)
class Boxes:
    """The true boxes of clips.

    Attributes:
        by_clip: `(k, 4)` x1, y1, x2, y2 of each clip: shares of the sides, or pixels.
        labels: Class of each clip, where the file has one.
        notices: Lines about boxes that are broken.
    """

    by_clip: dict[str, Floats]
    labels: dict[str, str]
    notices: tuple[str, ...] = ()


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
        InputError: If it cannot be read, or a line lacks one of the columns.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: no CSV ({error})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    for row in rows:
        if absent := [name for name in columns if row.get(name) is None]:
            raise InputError(f"{path}: a line without {absent[0]}")
    return rows


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
        lines = path.read_text("utf-8").splitlines()
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
        with path.open(encoding="utf-8", newline="") as file:
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
        entries = parse_json(path.read_bytes())
        names = [str(entry["file"]) for entry in entries]
        boxes = {
            name: np.asarray(entry["bbox"], np.float64).reshape(-1, 4)
            for name, entry in zip(names, entries, strict=True)
        }
        labels = {
            name: str(entry.get("class", "")) for name, entry in zip(names, entries, strict=True)
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not the boxes of clips ({error!r})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    refuse_twice(path, names)
    if only is not None:
        wanted = set(only)
        boxes = {name: own for name, own in boxes.items() if name in wanted}
    whole = {name: own[np.isfinite(own).all(1)] for name, own in boxes.items()}
    return Boxes(whole, labels, tuple(_broken(path, boxes, whole)))


def _broken(path: Path, boxes: Mapping[str, Floats], whole: Mapping[str, Floats]) -> list[str]:
    """Return lines about boxes that are no rectangles inside their frames."""
    outside = [name for name, own in whole.items() if ((own < -1) | (own > 2)).any()]
    endless = [name for name, own in boxes.items() if len(own) > len(whole[name])]
    bare = [name for name, own in whole.items() if not _has_area(own)]
    lines = []
    if outside:
        lines.append(
            f"{path.name}: {clips_text(outside)} with overflowed boxes, clipped to the frame"
        )
    if endless:
        lines.append(f"{path.name}: {clips_text(endless)} with boxes that hold no number, left out")
    if bare:
        lines.append(f"{path.name}: {clips_text(bare)} whose boxes have no area: cIoU is 0 there")
    return lines


def _has_area(boxes: Floats) -> bool:
    corners = corners_px(boxes)
    return bool(((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])).any())


def read_xml_boxes(folder: Path, ids: Sequence[str]) -> Boxes:
    """Read the boxes of Flickr-SoundNet, `<id>.xml` in the folder or in one inside it.

    The root's children are annotators; each holds `bbox` elements, whose children are a name and
    xmin, ymin, xmax, ymax in pixels of a frame of 256 x 256.

    Args:
        folder: Where the files are.
        ids: The clips wanted; those without a file are left out and told.

    Raises:
        InputError: If no clip has a file, or a file is none of this kind.
    """
    files = {path.stem: path for form in ("*/*.xml", "*.xml") for path in folder.glob(form)}
    have = [name for name in ids if name in files]
    if not have:
        raise InputError(f"{folder} holds no boxes: there is no <id>.xml of {ids[0]} or another id")
    boxes = {name: _xml_boxes(files[name]) for name in have}
    lines = []
    if absent := [name for name in ids if name not in files]:
        lines.append(f"{folder}: {clips_text(absent)} without an XML file, left out")
    if bare := [name for name, own in boxes.items() if not _has_area(own / 256)]:
        lines.append(f"{folder}: {clips_text(bare)} whose boxes have no area: cIoU is 0 there")
    return Boxes(boxes, {}, tuple(lines))


def _xml_boxes(path: Path) -> Floats:
    try:
        root = parse_xml(path.read_bytes())
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


def clips_text(ids: Sequence[str]) -> str:
    """Return how many clips, and the first of them."""
    named = ", ".join(ids[:_FIRST]) + (", ..." if len(ids) > _FIRST else "")
    return f"{len(ids)} clip{'s' if len(ids) > 1 else ''} ({named})"


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error of a file that the disk does not give."""
    return InputError(f"{path} cannot be read ({error.strerror})")
