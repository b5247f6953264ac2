"""One manifest segment: a write-once file of JSON lines.

Its first line is the head (first row, first shard, clips per shard, roots), its last the tail (n,
sha256 of all before it); between them lies one line per clip, sorted by path bytes.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..errors import CacheCorruptError, Reason
from ..reading import parse_json, parse_json_lines
from .clip_ids import is_bad_id
from .schema import FORMAT, canonical_json, damaged, opened

_SCAN_BLOCK = 1 << 24
_READ_BYTES = 1 << 20
_PARSE_LINES = 256
"""Parsed at once: less time a line, and little memory."""


_TEXTS = ("audio_path", "etag", "label", "reject", "detail", "was", "was_detail")
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, (str,)),
    **dict.fromkeys(("offset", "retry_of"), (int,)),
    **dict.fromkeys(("start_s", "seconds"), (int, float)),
}
"""Of what a line may hold besides; a newer avpipe may add to that."""
_REASONS = frozenset(Reason)


class Root(TypedDict):
    """A folder that paths of clips are relative to, or an address.

    `device` is the one it lay on when planned; 0 if nothing was found there; of an address 1.
    """

    path: str
    device: int


class _Line(TypedDict):
    id: str
    root: int
    path: str
    source: str
    bytes: int


_ALL_HAVE = len(_Line.__annotations__)


class Line(_Line, total=False):
    """What the manifest knows of a clip before anything of it was decoded.

    `start_s` and `seconds` cut the clip out of a longer file; `reject` is a reason found while
    planning (`duplicate_id`, `bad_id`); `detail` says it in words, or, of a clip that was named and
    not found, what was looked for; a retry names the row it supersedes (`retry_of`) and why that
    one failed (`was`, `was_detail`). `etag` is what the host of an address calls the content there,
    or the tar that it lies in; `offset` is where it begins in that tar.
    """

    audio_path: str
    etag: str
    offset: int
    start_s: float
    seconds: float
    label: str
    reject: str
    detail: str
    retry_of: int
    was: str
    was_detail: str


def line_text(  # plain arguments: a dict for each of millions would take twice the time
    clip_id: str,
    root: int,
    path: str,
    num_bytes: int,
    source: str,
    audio_path: str | None = None,
    start_s: float | None = None,
    seconds: float | None = None,
    label: str | None = None,
    detail: str | None = None,
    etag: str | None = None,
    offset: int | None = None,
) -> bytes:
    """Return a line as it is written, less its end: the bytes of `canonical_json`.

    For a clip that is neither rejected nor a retry, in a quarter of the time.

    Raises:
        ValueError: A number is not finite, which no JSON can say.
    """
    if not (math.isfinite(start_s or 0) and math.isfinite(seconds or 0)):
        raise ValueError(f"{clip_id!r} starts at {start_s} s and lasts {seconds} s")
    audio = "" if audio_path is None else f'"audio_path":{_quoted(audio_path)},'
    said = "" if detail is None else f'"detail":{_quoted(detail)},'
    if etag is not None:
        said += f'"etag":{_quoted(etag)},'
    called = "" if label is None else f'"label":{_quoted(label)},'
    if offset is not None:
        called += f'"offset":{offset},'
    length = "" if seconds is None else f'"seconds":{seconds!r},'
    start = "" if start_s is None else f',"start_s":{start_s!r}'
    return (
        f'{{{audio}"bytes":{num_bytes},{said}"id":{_quoted(clip_id)},{called}"path":{_quoted(path)},'
        f'"root":{root},{length}"source":{_quoted(source)}{start}}}'
    ).encode("ascii")


class Segment:
    """One manifest file; a large one is mapped into memory. Lines are parsed when asked for."""

    def __init__(self, path: Path) -> None:
        """Map and check a segment.

        Raises:
            CacheCorruptError: If its checksum or its structure is wrong.
        """
        self.path = path
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise damaged(path, " is empty")
            # a mapping holds a file open: thousands of small segments are read instead
            self._data: bytes | mmap.mmap = (
                file.read()
                if size <= _READ_BYTES
                else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            )
        starts = _line_starts(self._data)
        try:
            head = parse_json(self._data[starts[0] : starts[1]])
            tail_at = int(starts[-2])
            tail = parse_json(self._data[tail_at:])
            self.n: int = tail["n"]
            intact = type(self.n) is int and self.n == len(starts) - 3
            intact = intact and tail["sha256"] == _sha256(self._data, tail_at)
            intact = intact and self._data[tail_at:] == canonical_json(tail) + b"\n"
            if not intact:
                raise damaged(path, " is damaged")
            if head["format"] != FORMAT:
                raise CacheCorruptError(
                    f"{path}: cache format {head['format']}, this avpipe reads {FORMAT}; install "
                    "the avpipe that wrote it"
                )
            _require_head(head)
            self.first_row: int = head["first_row"]
            self.first_shard: int = head["first_shard"]
            self.shard_clips: int = head["shard_clips"]
            self.num_retries: int = head["num_retries"]
            self.roots: list[Root] = head["roots"]
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            raise damaged(path, " is damaged") from error
        self._starts = starts[1:-1]

    @property
    def num_shards(self) -> int:
        """Shards the segment is cut into; the last may be short."""
        return -(-self.n // self.shard_clips)

    def raw(self, start: int, stop: int) -> bytes:
        """Return lines `start:stop` (counted within the segment) as written."""
        return self._data[self._starts[start] : self._starts[stop]]

    def blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield lines as written, less their ends, some at a time, and the number of the first."""
        for first in range(0, self.n, _PARSE_LINES):
            yield first, self.raw(first, min(self.n, first + _PARSE_LINES)).split(b"\n")[:-1]

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[Line]:
        """Parse lines `start:stop` (counted within the segment)."""
        end = self.n if stop is None else stop
        for first in range(start, end, _PARSE_LINES):
            last = min(end, first + _PARSE_LINES)
            texts = parse_json_lines(self.raw(first, last))
            for index in range(first, last):
                yield self._checked(texts, index)

    def _checked(self, texts: Iterator[Any], index: int) -> Line:
        """Return the next line: what has the right checksum need not be written by avpipe."""
        try:
            line: Line = next(texts)
            known = _is_clip(line, self.first_row + index, len(self.roots))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            known = False
        if not known:
            raise self._forged(f"row {self.first_row + index} is no clip")
        if "reject" not in line and is_bad_id(line["id"]):
            raise self._forged(f"row {self.first_row + index} has the id {line['id']!r}")
        return line

    def _forged(self, what: str) -> CacheCorruptError:
        return CacheCorruptError(
            f"{self.path}: {what}, which avpipe never writes: do not use this cache, make another"
        )


def _require_head(head: Any) -> None:
    """Refuse a head whose values no avpipe writes, whatever its checksum.

    Raises:
        ValueError: It is one; a KeyError or TypeError where it is no head at all.
    """
    counts = [head[name] for name in ("first_row", "first_shard", "num_retries")]
    counts.append(head["shard_clips"] - 1)
    fields = [field for root in head["roots"] for field in (root["path"], root["device"])]
    if not (
        all(type(count) is int and count >= 0 for count in counts)
        and all(type(path) is str for path in fields[::2])
        and all(type(device) is int for device in fields[1::2])
    ):
        raise ValueError("values of other types")


def _is_clip(line: Line, row: int, num_roots: int) -> bool:
    """Whether a line says what `Line` does; a KeyError or the like where it is no line at all."""
    return (
        type(line["id"]) is str
        and type(line["path"]) is str
        and type(line.get("source", "")) is str
        and type(line["root"]) is int
        and 0 <= line["root"] < num_roots
        and type(line["bytes"]) is int
        and line["bytes"] >= 0
        and (line["path"] != "" or "reject" in line)
        and (len(line) == _ALL_HAVE or _is_more_of_clip(line, row))
    )


def _is_more_of_clip(line: Line, row: int) -> bool:
    """Whether a line that has more than all lines have says what `Line` does."""
    for name, value in line.items():
        kinds = _TYPES.get(name)
        if kinds is not None and type(value) not in kinds:
            return False
    if not (0 <= line.get("start_s", 0) < math.inf and 0 <= line.get("seconds", 0) < math.inf):
        return False
    if "reject" in line and line["reject"] not in _REASONS:
        return False
    return "retry_of" not in line or (0 <= line["retry_of"] < row and line["was"] in _REASONS)


def _line_starts(data: bytes | mmap.mmap) -> NDArray[np.int64]:
    """Return where each line starts, and the end, in blocks so that memory stays small."""
    found = [np.zeros(1, np.int64)]
    for at in range(0, len(data), _SCAN_BLOCK):
        block = np.frombuffer(data[at : at + _SCAN_BLOCK], np.uint8)
        found.append(np.flatnonzero(block == 0x0A) + (at + 1))
    return np.concatenate(found)


def _sha256(data: bytes | mmap.mmap, stop: int) -> str:
    with memoryview(data) as view, view[:stop] as part:
        return hashlib.sha256(part).hexdigest()
