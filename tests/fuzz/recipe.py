"""A damaged file as a seed and what was done to it, so that code makes it again."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .pieces import pieces
from .seeds import seed as bytes_of_seed

MAX_BYTES = 1 << 20

Part = bytes | tuple[str, int, int, int]
"""Bytes; or of a seed (of the file itself, for "") those from here to there, so many times."""


@dataclass(frozen=True)
class Edit:
    """What lies between two places is replaced.

    Attributes:
        begin: In bytes from the start of the file, as the edits before left it.
        end: The same; `begin` to insert.
        parts: What is there instead.
    """

    begin: int
    end: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How a damaged file is made, and what is asked of it.

    Attributes:
        seed: Name of the file that is damaged.
        edits: In their order.
        summed: Whether checksums are made right afterwards (Ogg, PNG), so that readers go on.
        beside: Name of the seed that is its sound, or of the picture that a sound goes with; "" for
            a video.
        ask: Further keys of the request: `start_s`, `seconds`; `do`: `row`, `duration`, `picture`.
    """

    seed: str
    edits: tuple[Edit, ...] = ()
    summed: bool = False
    beside: str = ""
    ask: tuple[tuple[str, Any], ...] = ()

    def content(self, seeds: Mapping[str, bytes] | None = None) -> bytes:
        """Return the damaged file.

        Args:
            seeds: Where they are at hand; else those that are needed are made.
        """
        data = _seed(self.seed, seeds)
        for edit in self.edits:
            data = applied(data, edit, seeds)
        return with_sums(data) if self.summed else data

    def with_edits(self, edits: Sequence[Edit]) -> Recipe:
        """Return the same with other edits."""
        return replace(self, edits=tuple(edits))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        edits = [[e.begin, e.end, *(_part_as_json(part) for part in e.parts)] for e in self.edits]
        found: dict[str, Any] = {"seed": self.seed, "edits": edits}
        if self.summed:
            found["summed"] = True
        if self.beside:
            found["beside"] = self.beside
        return {**found, **({"ask": dict(self.ask)} if self.ask else {})}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Recipe:
        """Return what `as_json` wrote."""
        edits = tuple(
            Edit(
                begin,
                end,
                tuple(bytes.fromhex(p) if isinstance(p, str) else tuple(p) for p in parts),
            )
            for begin, end, *parts in found["edits"]
        )
        ask = tuple(found.get("ask", {}).items())
        return cls(found["seed"], edits, found.get("summed", False), found.get("beside", ""), ask)


def applied(data: bytes, edit: Edit, seeds: Mapping[str, bytes] | None = None) -> bytes:
    """Return a file after an edit, cut where it becomes too large."""
    content = b"".join(_part(part, data, seeds) for part in edit.parts)
    return (data[: edit.begin] + content + data[max(edit.end, edit.begin) :])[:MAX_BYTES]


def _part(part: Part, data: bytes, seeds: Mapping[str, bytes] | None) -> bytes:
    if isinstance(part, bytes):
        return part
    name, begin, end, times = part
    piece = (_seed(name, seeds) if name else data)[begin:end]
    return (piece * min(times, MAX_BYTES // max(len(piece), 1)))[:MAX_BYTES]


def _part_as_json(part: Part) -> Any:
    return part.hex() if isinstance(part, bytes) else list(part)


def _seed(name: str, seeds: Mapping[str, bytes] | None) -> bytes:
    return bytes_of_seed(name) if seeds is None else seeds[name]


def with_sums(data: bytes) -> bytes:
    """Return a file with the checksums of Ogg's pages and of PNG's chunks made right."""
    changed = bytearray(data)
    if data.startswith(b"\x89PNG"):
        for piece in pieces(data):
            if piece.end - piece.begin >= 12:
                sum_of = zlib.crc32(data[piece.begin + 4 : piece.end - 4])
                changed[piece.end - 4 : piece.end] = struct.pack(">I", sum_of)
    elif data.startswith(b"OggS"):
        for piece in pieces(data):
            if piece.end - piece.begin >= 27:
                changed[piece.begin + 22 : piece.begin + 26] = bytes(4)
                sum_of = _ogg_sum(bytes(changed[piece.begin : piece.end]))
                changed[piece.begin + 22 : piece.begin + 26] = struct.pack("<I", sum_of)
    return bytes(changed)


_TURNED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
"""Bytes with their bits in the other order."""


def _ogg_sum(page: bytes) -> int:
    """Return Ogg's CRC (RFC 3533, section 6).

    Its polynomial is that of zlib, whose bits have the other order; it begins with 0, and its bits
    are not inverted at the end.
    """
    turned = zlib.crc32(page.translate(_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{turned:032b}"[::-1], 2)
