"""`--part I/N`: what one process of several does of a stage."""

from __future__ import annotations

import re

from ...cache.defaults import WHOLE, Part
from ...errors import UsageError


def parse_part(text: str) -> Part:
    """Parse `--part i/n` into (i, n), i from 0.

    Raises:
        UsageError: not of that form, or i is not below n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise UsageError(f"--part {text}: should be i/n with i from 0 to n - 1, as in 0/8")
    return int(match[1]), int(match[2])


def part_of(text: str | None) -> Part:
    """Return the part that an option names; without one, all.

    Raises:
        UsageError: as `parse_part` does.
    """
    return parse_part(text) if text else WHOLE
