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


def counted(lines: Sequence[Line]) -> list[Line]:
    """Return the last line of each case, of commands that make as many calls as they made then.

    A case is a command, a fault and the number of a call. Where a command makes another number of
    calls since, the number is of another call: such lines are left out, whatever they say.
    """
    last = {(line["command"], line["fault"], line["at"]): line for line in lines}
    calls = {(line["command"], line["fault"] == "short"): line.get("calls") for line in lines}
    return [
        line
        for (command, fault, _), line in last.items()
        if line.get("calls") == calls[command, fault == "short"]
    ]


def table(lines: Sequence[Line]) -> str:
    """Return what was tried and lost: by command and fault, then by kind of call and fault."""
    given, lines = lines, counted(lines)
    lost = sum(bool(line["lost"]) for line in lines)
    told = [
        f"{len(lines):,} cases, {len(lines) - lost:,} survived, {lost:,} lost; "
        f"{sum(line['s'] for line in lines) / 3600:.1f} h of all processes together; "
        f"{_when(lines)}.{_left_out(given)}",
        "",
        *_rows("command", "command", list(dict.fromkeys(line["command"] for line in lines)), lines),
        "",
        *_rows("call", "kind", [*KINDS, ""], lines),
    ]
    return "\n".join(told + _worst(lines))


def _when(lines: Sequence[Line]) -> str:
    """Say on which days which commits were tried, and how many cases of each if of several."""
    days = sorted({line["date"] for line in lines})
    dates = " to ".join(dict.fromkeys([*days[:1], *days[-1:]]))
    commits = Counter(line["commit"] for line in lines)
    if len(commits) == 1:
        return f"{dates}, commit {next(iter(commits))}"
    told = [f"{commit}: {number:,}" for commit, number in commits.items()]
    return f"{dates}, cases at commit {', '.join(told)}"


def _left_out(lines: Sequence[Line]) -> str:
    """Say how many cases are not counted; "" if none."""
    tried = len({(line["command"], line["fault"], line["at"]) for line in lines})
    number = tried - len(counted(lines))
    told = " Older cases, not counted as their commands make another number of calls by now"
    return f"{told}: {number:,}." if number else ""


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
