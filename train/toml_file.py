"""TOML files of users: read, and what is wrong in them told by line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from ..reading import MAX_TOML_BYTES, TOO_LARGE, open_regular, parse_toml


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Read a file.

    Returns:
        Its values, and its text for `line_of`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no TOML; says where, if that is known.
    """
    with open_regular(path) as file:
        content = file.read(MAX_TOML_BYTES + 1)
    if len(content) > MAX_TOML_BYTES:
        raise ValueError(TOO_LARGE)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: {error.reason}, it is not UTF-8") from None
    try:
        return parse_toml(text + "\n"), text  # a last line without its end has no number
    except tomllib.TOMLDecodeError as error:
        raise ValueError(_placed(str(error), text)) from None


def _placed(message: str, text: str) -> str:
    """Bring the parser's "what (where)" into the form "where: what"."""
    what, _, where = message.rpartition(" (at ")
    if where == "end of document)":
        lines = text.split("\n")
        return f"line {len(lines)}, column {len(lines[-1]) + 1}: {what}"
    return f"{where.removesuffix(')')}: {what}"


def line_of(text: str, key: str = "", table: str = "") -> str:
    """Say where a key, or without one a table, stands in a file: `line 3: `, or nothing."""
    inside = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            inside = header[1]
            found = not key and inside == table
        else:
            found = bool(key) and inside == table and _is_of(line, key)
        if found:
            return f"line {number}: "
    return ""


def _is_of(line: str, key: str) -> bool:
    return re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line) is not None
