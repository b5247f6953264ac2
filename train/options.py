"""What an objective's file declares of recipes, read without running it: options, refused keys.

A recipe gives options in its `[objective]` table, `--set objective.NAME=VALUE` on the command line.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "objectives"


@dataclass(frozen=True)
class Option:
    """One option, as a file's `OPTIONS = {NAME: {...}}` declares it.

    Attributes:
        default: Its value where a recipe gives none; its type is the option's type.
        meaning: What it does, in one line.
        choices: Values of a text; empty for numbers.
        above: What a number must exceed; None: no such bound.
        at_least: Smallest number.
        at_most: Largest number.
        was: The key under which older recipes gave it, outside the table.
    """

    default: str | int | float | bool
    meaning: str
    choices: tuple[str, ...] = ()
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    was: str = ""

    def misfit(self, value: Any) -> str | None:
        """Say what a value should be, None if it may stay."""
        if self.choices:
            return None if value in self.choices else f"expected one of {', '.join(self.choices)}"
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "expected true or false"
        if isinstance(self.default, str):
            return None if isinstance(value, str) else "expected text"
        allowed = (int, float) if isinstance(self.default, float) else (int,)
        if isinstance(value, bool) or not isinstance(value, allowed):
            return f"expected {'a number' if float in allowed else 'a whole number'}"
        return None if self._holds(value) else f"must be {self.limits}"

    def _holds(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    @property
    def limits(self) -> str:
        """The bounds of a number in words."""
        if self.at_least is not None and self.at_most is not None:
            return f"between {self.at_least:g} and {self.at_most:g}"
        bounds = {"above": self.above, "at least": self.at_least, "at most": self.at_most}
        named = [f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None]
        return " and ".join(named) or "finite"


@dataclass(frozen=True)
class Refusal:
    """A key of a recipe that an objective refuses, as its `REFUSES = {KEY: {...}}` declares it.

    Attributes:
        why: The line of the error; `{value}` is what the recipe has.
        values: What is refused; empty: all but the key's default.
    """

    why: str
    values: tuple[Any, ...] = ()


@cache
def options_of(objective: str) -> Mapping[str, Option]:
    """Read the options of an objective from its file, without importing it.

    Args:
        objective: Its name; a name without a file has none.
    """
    return {name: Option(**fields) for name, fields in _declared(objective, "OPTIONS").items()}


@cache
def refusals_of(objective: str) -> Mapping[str, Refusal]:
    """Read which keys of a recipe an objective refuses, from its file, without importing it.

    Args:
        objective: Its name; a name without a file refuses none.
    """
    return {key: Refusal(**fields) for key, fields in _declared(objective, "REFUSES").items()}


def _declared(objective: str, constant: str) -> dict[str, dict[str, Any]]:
    """Return a table that an objective's file declares; empty where it has none."""
    path = _FOLDER / f"{objective.replace('-', '_')}.py"
    if path.is_file():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == constant:
                declared: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
                return declared
    return {}


def older_keys(objectives: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the recipe keys that were options before the table was: key to (objective, option)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for objective in objectives:
        for name, option in options_of(objective).items():
            if option.was:
                found.setdefault(option.was, []).append((objective, name))
    return found
