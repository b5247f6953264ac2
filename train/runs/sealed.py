"""Records and pages that carry a digest of themselves, so that damage is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ...cache.schema import digest
from ...reading import parse_json

DIGEST = "sha256"
"""Key of the sha256 of the canonical JSON (sorted keys, no spaces, ASCII) of all other keys."""


CSV_DIGEST = "csv_sha256"
"""Key of the sha256 of the table of pairs, in the scores of an evaluation."""
_MARK, _END = b"<!-- sha256 of all before: ", b" -->\n"
_HEX = 64


def seal(record: Mapping[str, Any], key: str = DIGEST) -> dict[str, Any]:
    """Return a record as JSON holds it, with its digest as the last key."""
    plain: dict[str, Any] = parse_json(json.dumps(record))
    return {**plain, key: digest(plain)}


def unseal(text: bytes, key: str = DIGEST) -> tuple[dict[str, Any], bool]:
    """Read a record.

    Returns:
        The record without its digest, and whether it had one.

    Raises:
        ValueError: It is not a JSON object, its digest is another, or stands under another name.
    """
    record = parse_json(text)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    is_sealed = key in record
    last = key if is_sealed else next(reversed(record), key)
    rest = {name: value for name, value in record.items() if name != last}
    if is_sealed != (record.get(last) == digest(rest)):  # a name that is other is damage, too
        raise ValueError(f"its content does not match its {key}")
    return (rest if is_sealed else record), is_sealed


def sign(text: str) -> bytes:
    """Return a page of HTML or Markdown whose last line, a comment, is the digest of all before.

    Bytes of names that are no UTF-8 are escaped.
    """
    content = text.encode(errors="backslashreplace")
    return content + _last_line(content)


def is_signed(content: bytes) -> bool:
    """Whether a page ends as `sign` lets it, and is what was signed.

    Raises:
        ValueError: It ends like that, and is other than what was signed.
    """
    at = len(content) - len(_MARK) - _HEX - len(_END)
    mark, end = content[max(at, 0) :][: len(_MARK)], content[-len(_END) :]
    alike = sum(map(int.__eq__, mark + end, _MARK + _END))
    if at < 0 or 2 * alike < len(_MARK + _END):
        return False
    if _last_line(content[:at]) != content[at:]:
        raise ValueError("its content does not match the sha256 of its last line")
    return True


def _last_line(content: bytes) -> bytes:
    return _MARK + hashlib.sha256(content).hexdigest().encode() + _END
