"""JSON records that carry a digest of themselves, so that damage is found when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...cache.schema import digest
from ...reading import parse_json

DIGEST = "sha256"
"""Key of the sha256 of the canonical JSON (sorted keys, no spaces, ASCII) of all other keys."""


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as JSON holds it, with its digest as the last key."""
    plain: dict[str, Any] = parse_json(json.dumps(record))
    return {**plain, DIGEST: digest(plain)}


def unseal(text: bytes) -> tuple[dict[str, Any], bool]:
    """Read a record.

    Returns:
        The record without its digest, and whether it had one.

    Raises:
        ValueError: It is not a JSON object, or its digest is another.
    """
    record = parse_json(text)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    is_sealed = DIGEST in record
    found = record.pop(DIGEST, None)
    if is_sealed and found != digest(record):
        raise ValueError(f"its content does not match its {DIGEST}")
    return record, is_sealed
