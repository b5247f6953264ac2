"""Print results: the JSON document of a command, or the same for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..printable import printable

Document = Mapping[str, Any]

_RUN_WORDS = {
    "planned": "new clips",
    "embedded": "embedded now",
    "done": "done now",
    "skipped": "finished before",
    "failed": "failed now",
    "failed_by_reason": "why they failed",
    "failed_total": "failed in all",
    "ignored": "files left alone",
    "seconds": "time",
    "per_second": "clips per second",
}
"""What the counts of a run are called."""


def show(document: Document, as_json: bool, text: Callable[[Document], str]) -> None:
    """Print a result on stdout, as one JSON object or as text."""
    say(json.dumps(document, indent=2).replace("\x7f", "\\u007f") if as_json else text(document))


def say(text: str, *, end: str = "\n") -> None:
    """Print lines on stdout; what in them would act on a terminal is escaped."""
    print(printable(text, "\n"), end=end, flush=True)


def note(line: str) -> None:
    """Tell something that is no result, on stderr, at once."""
    print(f"avpipe: {printable(line)}", file=sys.stderr, flush=True)


def run_text(document: Document) -> str:
    """Render what a run did, in words; reasons and kinds only where there are some."""
    fields = {key: value for key, value in document.items() if value != {} and key != "notices"}
    return "\n".join([fields_text(fields, _RUN_WORDS), *document.get("notices", [])])


def fields_text(document: Document, words: Mapping[str, str] | None = None) -> str:
    """Render a flat document, one field per line, named by its key or by the words for it."""
    shown = {
        (words or {}).get(key, key.replace("_", " ")): _field(key, value)
        for key, value in document.items()
        if key != "schema"
    }
    width = max(map(len, shown))
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in shown.items())


def teachers_text(document: Document) -> str:
    """Render `avpipe embed-teachers` and `avpipe knn`: the weights stand by themselves."""
    fields = {key: value for key, value in document.items() if key not in ("weights", "notices")}
    weights = [f"{stage}: {weights_text(digest)}" for stage, digest in document["weights"].items()]
    return "\n".join([run_text(fields), "", *weights, *document.get("notices", [])])


def percent(share: float | None) -> str:
    """Write a share as a person reads it."""
    return "-" if share is None else f"{share:.1%}"


def weights_text(digest: str) -> str:
    """Say what a digest of weights means to people; random ones stand out."""
    kind, _, seed = digest.partition(":")
    if kind == "random":
        return f"RANDOM weights (seed {seed}), for tests and demos: they know nothing"
    return f"weights {digest[:12]}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align columns by their widest cell, numbers to the right; nothing is cut off."""
    cells = [tuple(head), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def size_text(num_bytes: int) -> str:
    """Write a size as a person reads it, in powers of 1000."""
    size, units = float(num_bytes), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.{0 if units[0] == 'B' else 1}f} {units[0]}"


def time_text(seconds: float) -> str:
    """Write a time as a person reads it: the two largest of its units."""
    if seconds < 60:
        return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
    minutes = round(seconds / 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _field(key: str, value: object) -> str:
    if key.startswith("bytes") and isinstance(value, int):
        return size_text(value)
    if key == "seconds" and isinstance(value, int | float):
        return time_text(value)
    return short_text(value)


def short_text(value: object) -> str:
    """Write a value in a line."""
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        words = (f"{count} {name or '(no suffix)'}" for name, count in value.items())
        return printable(", ".join(words))
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value))
    return json.dumps(value) if isinstance(value, list | bool) else str(value)
