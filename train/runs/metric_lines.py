"""Lines of `metrics.jsonl` and `validation.jsonl`: JSON objects with a checksum each."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ...cache.schema import canonical_json
from ...drafts import sync_file, sync_folder, unwritable, write_whole
from ...reading import open_regular, parse_json
from ..notices import tell

CHECKSUM = "crc32"
"""First key of a line: the crc32 of the canonical JSON (sorted keys, no spaces) of all others."""

Values = dict[str, float]


class MetricLine(NamedTuple):
    """A line that was read.

    Attributes:
        values: Its numbers, the checksum left out.
        is_checked: Whether it had a checksum; lines of older versions have none.
    """

    values: Values
    is_checked: bool


def encode(values: Mapping[str, float]) -> str:
    """Return a line of numbers; `step` is the first of them."""
    return json.dumps({CHECKSUM: _checksum(values), **values}) + "\n"


def _checksum(values: Mapping[str, float]) -> int:
    return zlib.crc32(canonical_json(values))


def decode(text: bytes) -> MetricLine | None:
    """Read a line; None if it is damaged: no object of finite numbers, no step, another checksum.

    A line without a checksum begins with its step: one whose checksum lost its name is damaged.
    """
    try:
        values: Values = parse_json(text)
        first = next(iter(values))
        checksum = values.pop(CHECKSUM, None)
        are_numbers = all(
            type(value) in (int, float) and math.isfinite(value) for value in values.values()
        )
        is_line = are_numbers and type(values["step"]) is int and values["step"] >= 1
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration):
        return None
    except (OverflowError, RecursionError):
        return None
    is_checked = checksum is not None
    is_whole = checksum == _checksum(values) if is_checked else first == "step"
    return MetricLine(values, is_checked) if is_line and is_whole else None


def append_lines(path: Path, lines: Iterable[Mapping[str, float]]) -> None:
    """Add lines to a file.

    Raises:
        CacheUnwritableError: If it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(map(encode, lines))
    except OSError as error:
        raise unwritable(path, error) from error


def sync_lines(run_dir: Path) -> None:
    """Make all lines of a run durable: a checkpoint that is says they are there.

    Raises:
        CacheUnwritableError: If the disk cannot be written.
    """
    try:
        for path in run_dir.glob("*.jsonl"):
            sync_file(path)
        sync_folder(run_dir)
    except OSError as error:
        raise unwritable(run_dir, error) from error


def read_lines(path: Path) -> list[Values]:
    """Read the lines of a file that are whole, and tell which are not; none if there is no file."""
    lines = _split(path)
    found = [decode(line) for line in lines]
    damaged = [number for number, line in enumerate(found, 1) if line is None]
    if damaged and damaged[-1] == len(lines) and not lines[-1].endswith(b"\n"):
        tell(f"{path}: line {damaged.pop()}, the last, is not whole: it is left out")
    if damaged:
        tell(f"{path}: {_name(damaged)} damaged: the other lines are read")
    return [line.values for line in found if line is not None]


def last_loss(path: Path) -> float | None:
    """Return the loss of the last line that is whole; None if there is none."""
    lines = read_lines(path)
    return lines[-1].get("loss") if lines else None


def lines_problem(path: Path, step: int, *, all_steps: bool, every: int = 1) -> str:
    """Return what is wrong with a file of lines; "" where nothing is.

    Lines of steps after the newest checkpoint are made again: a kill or a power failure may leave
    them damaged.

    Args:
        path: The file.
        step: Steps that the newest checkpoint has done: their lines were written before it.
        all_steps: Whether every step has a line, as in `metrics.jsonl`.
        every: Steps from one line to the next.
    """
    lines = _split(path)
    found = [decode(line) for line in lines]
    damaged, steps, at = list[int](), list[int](), 0
    for number, line in enumerate(found, 1):
        at = int(line.values["step"]) if line else at + every
        if line:
            steps.append(at)
        elif at <= step:
            damaged.append(number)
    if damaged:
        return f"{_name(damaged)} damaged"
    last = max(steps, default=0)
    there = set(steps)
    missing = next((number for number in range(1, step + 1) if number not in there), None)
    if all_steps and missing:
        if missing <= last:
            return f"the line of step {missing} is missing"
        return f"ends at step {last}, the checkpoint has done {step}"
    if any(later <= earlier for earlier, later in pairwise(steps)):
        return "its steps are not in order"
    unended = lines and found[-1] and not lines[-1].endswith(b"\n") and last <= step
    return f"line {len(lines)}, the last, has no end" if unended else ""


def cut_lines(path: Path, step: int, every: int = 1) -> str | None:
    """Remove the lines of steps after `step`, which are made again, and nothing else.

    A damaged line is taken to be of the step that follows from the line before it. If that is made
    again it is removed, otherwise it is all there is of that step, and stays.

    Args:
        path: The file; nothing is done if there is none.
        step: Steps that are done.
        every: Steps from one line to the next.

    Returns:
        A notice of the damaged lines that stay.

    Raises:
        CacheUnwritableError: If the file cannot be written.
    """
    lines = _split(path)
    kept: list[bytes] = []
    damaged: list[int] = []
    at = 0
    for text in lines:
        line, due = decode(text), at + every
        if line and not line.is_checked and line.values["step"] > step >= due:
            line = None  # by its place it is of a step that is done
        at = int(line.values["step"]) if line else due
        if at <= step:
            kept.append(text if text.endswith(b"\n") else text + b"\n")
            if line is None:
                damaged.append(len(kept))
    if kept != lines:
        write_whole(path, b"".join(kept))
    if not damaged:
        return None
    return f"{path}: {_name(damaged)} damaged, of steps that are done: nothing makes them again"


def _split(path: Path) -> list[bytes]:
    """Return the lines of a file with their ends; none if there is no file."""
    try:
        with open_regular(path) as file:
            return list(file)
    except FileNotFoundError:
        return []


def _name(numbers: Sequence[int]) -> str:
    """Name lines by their numbers."""
    if len(numbers) == 1:
        return f"line {numbers[0]} is"
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"lines {', '.join(map(str, numbers[:5]))}{more} are"
