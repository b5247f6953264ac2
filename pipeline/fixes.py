"""What fixes a cache: the command lines that end the line of an error where it is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..advice import advice, quoted
from ..errors import AvpipeError, Fault, Wrong

_ENDINGS: dict[Wrong, Callable[[Path], str]] = {
    Wrong.NOT_A_CACHE: lambda cache: f"run `avpipe extract INPUT --cache {quoted(cache)}`",
    Wrong.DAMAGED: lambda path: f"run {advice('verify --repair', path)}",
    Wrong.NO_SOUND: lambda path: f"run {advice('extract', path)}",
    Wrong.NO_COLUMN: lambda cache: f"see {advice('status', cache)}",
    Wrong.NO_NEIGHBORS: lambda cache: f"run {advice('knn', cache)}",
    Wrong.NEEDED_BY_ALL: lambda cache: (
        f"use {advice('extract --overwrite', cache)}, or remove the folder {cache}"
    ),
}
"""How the line of an error ends, by what is wrong."""


def shown(error: AvpipeError) -> str:
    """Return the line of an error as users see it: what is wrong, and the command that fixes it."""
    return f"{error}{ending(error.fault)}"


def ending(fault: Fault | None) -> str:
    """Return what to add to the line of an error; nothing where no command helps."""
    return f"; {_ENDINGS[fault.reason](fault.path)}" if fault else ""
