"""The table of what `faults/full.py` found, in Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from injected import FAULTS, KINDS

Line = dict[str, Any]


def read_lines(path: Path) -> list[Line]:
    """Read the cases of a file, those of processes that were killed while they wrote left out."""
    if not path.exists():
        return []
    found = []
    for text in path.read_text().splitlines():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def table(lines: Sequence[Line]) -> str:
    """Return what was tried and lost: by command and fault, then by kind of call and fault."""
    lost = sum(bool(line["lost"]) for line in lines)
    days = sorted({line["date"] for line in lines})
    dates = " to ".join(dict.fromkeys([*days[:1], *days[-1:]]))
    commits = ", ".join(dict.fromkeys(line["commit"] for line in lines))
    told = [
        f"{len(lines):,} cases, {len(lines) - lost:,} survived, {lost:,} lost; "
        f"{sum(line['s'] for line in lines) / 3600:.1f} h of all processes together; "
        f"{dates}, commit {commits}.",
        "",
        *_rows("command", "command", list(dict.fromkeys(line["command"] for line in lines)), lines),
        "",
        *_rows("call", "kind", [*KINDS, ""], lines),
    ]
    return "\n".join(told + _worst(lines))


def _rows(title: str, key: str, names: Sequence[str], lines: Sequence[Line]) -> list[str]:
    faults = [fault for fault in FAULTS if any(line["fault"] == fault for line in lines)]
    head = [title, "calls", *faults, "cases", "survived", "lost"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in names:
        of_name = [line for line in lines if line[key] == name]
        if not of_name:
            continue
        cases = Counter(line["fault"] for line in of_name)
        lost = sum(bool(line["lost"]) for line in of_name)
        calls = len({(line["command"], line["at"]) for line in of_name if line["fault"] != "short"})
        counts = [calls, *(cases[fault] for fault in faults), len(of_name), len(of_name) - lost]
        rows.append([name or "(not reached)", *(f"{count:,}" for count in counts), f"{lost:,}"])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _worst(lines: Sequence[Line]) -> list[str]:
    """Return one line for each way something was lost."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line["lost"]:
            found.setdefault((line["command"], line["lost"][:80]), []).append(line)
    return [
        f"\nlost: {command}: {what}: {len(some)} cases, such as {some[0]['fault']} at call "
        f"{some[0]['at']} ({some[0]['kind']} {some[0]['file']})"
        for (command, what), some in found.items()
    ]
