"""One line of what `avpipe doctor` finds."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple


class Check(NamedTuple):
    """What was looked at.

    Attributes:
        name: A word for it.
        state: A `problem` stops the everyday commands, a `warning` something that is less common.
        found: What is there.
        advice: What mends it; empty if nothing has to be done.
        exit_code: What `doctor` ends with, of a problem: the one of the command that it stops.
    """

    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the `--json` form."""
        return {name: getattr(self, name) for name in ("name", "state", "found", "advice")}


def ok(name: str, found: str) -> Check:
    """Say that something is as it should be."""
    return Check(name, "ok", found)


def warning(name: str, found: str, advice: str = "") -> Check:
    """Say that something is missing that not everybody needs."""
    return Check(name, "warning", found, advice)


def problem(name: str, found: str, advice: str = "", exit_code: int = 6) -> Check:
    """Say that something is missing that everybody needs."""
    return Check(name, "problem", found, advice, exit_code)
