r"""Text that may hold anything, as it leaves the program: on a terminal, on a page, in a table.

A clip's id, its label or a path may hold characters that move the cursor, ring the bell, turn the
direction of writing or are no characters at all. They are shown as escapes, `\x1b`.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters
    "\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi
    "\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # more that cannot be seen
    "\ud800-\udfff"  # bytes of a file's name that are no UTF-8
    "]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""What makes a spreadsheet compute a cell, and the sign that keeps it from that."""
_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|-inf", re.IGNORECASE)


def printable(text: object, keep: str = "") -> str:
    r"""Return a text in which all that would act instead of being seen is escaped.

    Args:
        text: Anything.
        keep: Characters left as they are: ends of lines that the program wrote itself.
    """

    def shown(found: re.Match[str]) -> str:
        return found[0] if found[0] in keep else _escaped(found[0])

    return _UNSAFE.sub(shown, str(text))


def has_escape(text: str) -> bool:
    """Whether a text holds what could be an escape that `printable` or `cell` wrote."""
    return bool(_ESCAPE.search(text))


def cell(value: object) -> str:
    """Return a cell of a table that people open in a spreadsheet; `from_cell` undoes it exactly.

    A text that would be computed as a formula has a `'` before it; numbers stay numbers.
    """
    text = _UNSAFE.sub(lambda found: _escaped(found[0]), str(value).replace("\\", "\\\\"))
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """Return the text that `cell` was given."""
    text = text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text
    return _ESCAPE.sub(lambda found: _character(found[1]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _character(escape: str) -> str:
    return escape if escape == "\\" else chr(int(escape[1:], 16))
