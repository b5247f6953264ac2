"""Arrays in one `.npz` file that says whether it is still what was written.

Its archive comment ends in the sha256 of all bytes before that; `numpy.load` reads it as any other.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import canonical_json
from ...reading import parse_json

Arrays = dict[str, NDArray[Any]]
_HEX = 64
_KEY = "key"


class DamagedArraysError(Exception):
    """The bytes are not those that were written, or an older version wrote them."""


def pack(key: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of a file.

    Args:
        key: What the arrays were made from.
        arrays: By name.
    """
    content = io.BytesIO()
    named: dict[str, Any] = {_KEY: np.frombuffer(canonical_json(key), np.uint8), **arrays}
    np.savez(content, **named)
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = b"sha256 of all before: " + b"0" * _HEX
    head = content.getvalue()[:-_HEX]
    return head + hashlib.sha256(head).hexdigest().encode()


def unpack(content: bytes) -> tuple[dict[str, str], Arrays]:
    """Return the key and the arrays of a file; nothing is parsed before the digest is compared.

    Raises:
        DamagedArraysError: The digest is not that of the content.
    """
    if not is_whole(content):
        raise DamagedArraysError
    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return parse_json(arrays.pop(_KEY).tobytes()), arrays


def is_whole(content: bytes) -> bool:
    """Whether the bytes of a file are those that were written."""
    return hashlib.sha256(content[:-_HEX]).hexdigest().encode() == content[-_HEX:]
