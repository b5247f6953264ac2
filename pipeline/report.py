"""Print results: the JSON document of a command, or the same for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..stages.synth import SynthSummary

Document = Mapping[str, Any]


def show(document: Document, as_json: bool, text: Callable[[Document], str]) -> None:
    """Print a result on stdout, as one JSON object or as text."""
    print(json.dumps(document, indent=2) if as_json else text(document), flush=True)


def config_text(document: Document) -> str:
    """Render `avpipe config`."""
    rows = [
        (row["key"], _short(row["value"]), row["origin"], ", ".join(row["commands"]))
        for row in document["settings"]
    ]
    file = document["file"] or "none; `avpipe init` writes one"
    return f"settings file: {file}\n\n" + table(("setting", "value", "from", "commands"), rows)


def synth_json(summary: SynthSummary) -> dict[str, Any]:
    """Build the `avpipe.synth/1` document."""
    fields = {key: _plain(value) for key, value in asdict(summary).items()}
    return {"schema": "avpipe.synth/1", **fields}


def fields_text(document: Document) -> str:
    """Render a flat document, one field per line."""
    shown = {key: _short(value) for key, value in document.items() if key != "schema"}
    width = max(map(len, shown))
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in shown.items())


def status_text(document: Document) -> str:
    """Render `avpipe status`."""
    clips = document["clips"]
    parts = [
        " ".join(f"{clips[key]} {key}" for key in ("done", "failed", "todo"))
        + f" of {clips['total']} clips"
    ]
    if document["failures"]:
        rows = sorted(document["failures"].items(), key=lambda item: -item[1])
        parts.append(table(("failed", "clips"), rows))
    if document["stages"]:
        rows = [
            (
                stage["name"],
                stage["done"],
                stage["stale"],
                stage["missing"],
                size_text(stage["bytes"]),
            )
            for stage in document["stages"]
        ]
        parts.append(table(("stage", "done", "stale", "missing", "size"), rows))
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align columns by their widest cell, numbers to the right; nothing is cut off."""
    cells = [tuple(head), *(tuple(str(cell) for cell in row) for row in rows)]
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


def _short(value: object) -> str:
    if value is None:
        return "-"
    return json.dumps(value) if isinstance(value, list | dict | bool) else str(value)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
