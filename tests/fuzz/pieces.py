"""What media files consist of: boxes, elements, chunks, tags, pages, packets, segments.

Only as much is understood as damaging them needs: where a piece begins, ends, has its size, its
name and its content, and which pieces lie in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Counts = Literal["whole", "body", "ebml", "none"]
"""What a size counts: the whole piece, its body, its body as EBML writes it, or there is none."""

_DEEPEST = 20


@dataclass(frozen=True)
class Piece:
    """A part of a file.

    Attributes:
        begin: Where it starts, in bytes from the file's start.
        body: Where its content starts.
        end: Where it ends.
        name: Begin and end of what says its kind; equal where nothing does.
        size: Begin and end of what says its size; equal where nothing does.
        counts: What that size counts.
        order: Of the size's bytes.
        inside: The pieces in its content.
    """

    begin: int
    body: int
    end: int
    name: tuple[int, int]
    size: tuple[int, int]
    counts: Counts
    order: Literal["big", "little"] = "big"
    inside: tuple[Piece, ...] = ()


def pieces(data: bytes) -> tuple[Piece, ...]:
    """Return the outermost pieces of a file, none where its kind is not known."""
    for found, parse in _KINDS:
        if found(data):
            return tuple(parse(data))
    return ()


def walk(outer: tuple[Piece, ...], above: tuple[Piece, ...] = ()) -> Iterator[tuple[Piece, ...]]:
    """Yield each piece as the path to it: the outermost first, itself last."""
    for piece in outer:
        path = (*above, piece)
        yield path
        yield from walk(piece.inside, path)


_BOXES = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"dinf": 0, b"edts": 0}
_BOXES |= {b"udta": 0, b"moof": 0, b"traf": 0, b"mvex": 0, b"meta": 4, b"stsd": 8, b"dref": 8}
_BOXES |= {b"ilst": 0, b"wave": 0, b"mfra": 0}
"""Boxes that hold boxes, and how many bytes stand before these."""


def _boxes(data: bytes, begin: int = 0, end: int | None = None, depth: int = 0) -> Iterator[Piece]:
    end = len(data) if end is None else end
    while begin + 8 <= end:
        length, name = int.from_bytes(data[begin : begin + 4], "big"), data[begin + 4 : begin + 8]
        stop = begin + length if 8 <= length <= end - begin else end
        before = _BOXES.get(name)
        looked_into = before is not None and depth < _DEEPEST
        inside = (
            tuple(_boxes(data, begin + 8 + (before or 0), stop, depth + 1)) if looked_into else ()
        )
        yield Piece(begin, begin + 8, stop, (begin + 4, begin + 8), (begin, begin + 4), "whole",
                    inside=inside)  # fmt: skip
        begin = stop


_MASTERS = {0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0}
_MASTERS |= {0x1C53BB6B, 0xBB, 0xB7, 0x114D9B74, 0x4DBB, 0x1254C367, 0x7373, 0x63C0, 0x67C8}
_MASTERS |= {0x1941A469, 0x61A7, 0x6D80, 0x6240, 0x5034}


def _elements(
    data: bytes, begin: int = 0, end: int | None = None, depth: int = 0
) -> Iterator[Piece]:
    end = len(data) if end is None else end
    while begin + 2 <= end:
        name = begin + _vint_length(data[begin])
        if name >= end:
            return
        body = name + _vint_length(data[name])
        digits = 7 * (body - name)
        length = int.from_bytes(data[name:body], "big") & ((1 << digits) - 1)
        stop = body + length if length <= end - body else end
        holds = int.from_bytes(data[begin:name], "big") in _MASTERS and depth < _DEEPEST
        inside = tuple(_elements(data, body, stop, depth + 1)) if holds else ()
        yield Piece(
            begin, min(body, stop), stop, (begin, name), (name, body), "ebml", inside=inside
        )
        begin = max(stop, begin + 2)


def _vint_length(first: int) -> int:
    return 9 - first.bit_length() if first else 8


def _chunks(data: bytes, begin: int = 0, end: int | None = None, depth: int = 0) -> Iterator[Piece]:
    end = len(data) if end is None else end
    while begin + 8 <= end:
        length = int.from_bytes(data[begin + 4 : begin + 8], "little")
        stop = min(begin + 8 + length, end)
        holds = data[begin : begin + 4] in (b"RIFF", b"LIST") and depth < _DEEPEST
        inside = tuple(_chunks(data, begin + 12, stop, depth + 1)) if holds else ()
        yield Piece(begin, begin + 8, stop, (begin, begin + 4), (begin + 4, begin + 8), "body",
                    "little", inside)  # fmt: skip
        begin = stop + length % 2


def _tags(data: bytes) -> Iterator[Piece]:
    """Yield the tags of FLV."""
    begin = 13
    while begin + 11 <= len(data):
        length = int.from_bytes(data[begin + 1 : begin + 4], "big")
        stop = min(begin + 15 + length, len(data))
        yield Piece(begin, begin + 11, stop, (begin, begin + 1), (begin + 1, begin + 4), "body")
        begin = stop


def _packets(data: bytes) -> Iterator[Piece]:
    """Yield the packets of MPEG-TS; the length of an adaptation field is taken for their size."""
    for begin in range(0, len(data), 188):
        stop = min(begin + 188, len(data))
        adapted = len(data) > begin + 5 and data[begin + 3] & 0x20
        size = (begin + 4, begin + 5) if adapted else (begin + 4, begin + 4)
        counts: Counts = "body" if adapted else "none"
        yield Piece(begin, min(begin + 4, stop), stop, (begin + 1, begin + 3), size, counts)


def _pages(data: bytes) -> Iterator[Piece]:
    """Yield the pages of Ogg; their table of segments is taken for their size."""
    starts = [found.start() for found in re.finditer(b"OggS", data)]
    for begin, end in zip(starts, [*starts[1:], len(data)], strict=True):
        table = data[begin + 26] if begin + 26 < len(data) else 0
        body = min(begin + 27 + table, end)
        yield Piece(begin, body, end, (begin + 5, begin + 6), (begin + 26, begin + 27), "none")


def _codes(data: bytes) -> Iterator[Piece]:
    """Yield what lies between the start codes of MPEG-PS."""
    starts = [found.start() for found in re.finditer(b"\0\0\1[\xb9-\xff]", data)]
    for begin, end in zip(starts, [*starts[1:], len(data)], strict=True):
        body = min(begin + 6, end)
        yield Piece(begin, body, end, (begin + 3, begin + 4), (begin + 4, body), "body")


def _segments(data: bytes) -> Iterator[Piece]:
    """Yield the segments of JPEG."""
    begin = 2
    while begin + 4 <= len(data) and data[begin] == 0xFF:
        last = data[begin + 1] in (0xDA, 0xD9)  # the picture itself follows
        length = int.from_bytes(data[begin + 2 : begin + 4], "big")
        stop = len(data) if last else min(begin + 2 + max(length, 2), len(data))
        yield Piece(begin, begin + 4, stop, (begin + 1, begin + 2), (begin + 2, begin + 4), "body")
        begin = stop


def _png(data: bytes) -> Iterator[Piece]:
    begin = 8
    while begin + 12 <= len(data):
        stop = min(begin + 12 + int.from_bytes(data[begin : begin + 4], "big"), len(data))
        yield Piece(begin, begin + 8, stop, (begin + 4, begin + 8), (begin, begin + 4), "body")
        begin = stop


def _flac(data: bytes) -> Iterator[Piece]:
    """Yield the blocks of FLAC before its frames, and all of these as one."""
    begin, last = 4, False
    while begin + 4 <= len(data) and not last:
        last = bool(data[begin] & 0x80)
        stop = min(begin + 4 + int.from_bytes(data[begin + 1 : begin + 4], "big"), len(data))
        yield Piece(begin, begin + 4, stop, (begin, begin + 1), (begin + 1, begin + 4), "body")
        begin = stop
    yield Piece(begin, begin, len(data), (begin, begin), (begin, begin), "none")


def _mp3(data: bytes) -> Iterator[Piece]:
    """Yield the tag and the frames of MP3."""
    starts = [0, *(found.start() for found in re.finditer(b"\xff[\xfa\xfb\xf2\xf3]", data))]
    for begin, end in zip(starts, [*starts[1:], len(data)], strict=True):
        if begin < end:
            body = min(begin + 4, end)
            yield Piece(begin, body, end, (begin + 1, begin + 2), (begin + 2, body), "none")


def _begins(*starts: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda data: data[at : at + len(starts[0])] in starts


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Iterator[Piece]]], ...] = (
    (_begins(b"ftyp", b"moov", b"mdat", b"wide", b"free", at=4), _boxes),
    (_begins(b"\x1aE\xdf\xa3"), _elements),
    (_begins(b"RIFF"), _chunks),
    (_begins(b"FLV"), _tags),
    (_begins(b"OggS"), _pages),
    (_begins(b"\0\0\1\xba"), _codes),
    (_begins(b"\xff\xd8"), _segments),
    (_begins(b"\x89PNG"), _png),
    (_begins(b"fLaC"), _flac),
    (_begins(b"ID3"), _mp3),
    (lambda data: data[:1] == b"\x47" and data[188:189] == b"\x47", _packets),
)
