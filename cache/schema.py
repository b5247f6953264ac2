"""What lies in a cache: folder names, the shard header, and the columns each stage writes.

docs/cache-format.md describes the same for readers in other languages.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import CacheCorruptError, Fault, Wrong
from ..reading import open_regular, parse_json

FORMAT = 1
HEADER_BYTES = 4096
"""Size of the user block in front of the HDF5 content; HDF5 allows any power of two from 512."""

_MOST_AXES, _MOST_BYTES = 8, 1 << 48
_LONGEST_NAME = 255
_MOST_BESIDE = 16 << 20
"""Bytes that HDF5 may need beside the columns; it needs some kilobytes."""

MANIFEST = "manifest"
EXTRACT = "extract"
AUDIO = "audio"
HINTS = "hints"
OBJECTS = "objects"
EMBEDDINGS = "embeddings"
NEIGHBORS = "neighbors"
CLUSTERS = "clusters"
DAMAGED = "damaged"
DROPPED = "DROPPED"

AUDIO_RATE_HZ = 32_000
"""Rate of the audio column: what PANNs hear (32 kHz); the other front-ends resample from it."""

FULL_SCALE = 32767
"""What 1.0 is as int16 in the audio column. The peers divide 16-bit sound by it too (PyAV)."""

RAGGED = {"frame_jpeg": "frame_offset", "waveform": "waveform_offset"}
"""Flat columns of rows of different length, and the column of n + 1 offsets that cuts them."""

RUN_ENCODER = "run-"
"""How the names of encoders begin that are a run's and no teacher's."""

RUN_REGIONS = "region-"
"""The same of what a run sees where it hears something."""

Cells = Literal["corners", "tiles"]
"""Where a map's cells lie in the frame, cut into as many equal tiles: at the corner of each, the
top left one (padded strides put cell i at pixel stride * i), or in the middle of each."""

CENTROIDS = "centroids"
"""A column of `clusters` that is no column of rows: all `(k, d)` of them, in every shard."""


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_FINITE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON bytes that depend on nothing but its content (ASCII, sorted keys)."""
    return _CANONICAL.encode(value).encode("ascii")


def finite_json(value: Any) -> bytes:
    """Return what `canonical_json` does, where that is JSON.

    Raises:
        ValueError: A number in it is not finite, which no JSON can say.
    """
    return _FINITE.encode(value).encode("ascii")


def digest(value: Any) -> str:
    """Return the sha256 (hex) of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def id_set_digest(ids: Collection[str]) -> str:
    """Return the sha256 (hex) of a set of ids, in whatever order they come."""
    text = "\n".join(sorted(ids))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def shard_path(cache: Path, stage: str, shard: int) -> Path:
    """Return where shard number `shard` of `stage` lies."""
    return cache / stage / f"{shard:07d}.h5"


def fault_of(reason: Wrong, path: Path) -> Fault:
    """Return what is wrong with a file as facts; a shard's path says what it is a shard of."""
    number = re.fullmatch(r"([0-9]{7})\.h5", path.name)
    if number is None:
        return Fault(reason, path)
    parts = 1 if path.parent.name in (EXTRACT, AUDIO) else 2
    return Fault(reason, path, "/".join(path.parent.parts[-parts:]), int(number[1]))


def damaged(path: Path, what: str) -> CacheCorruptError:
    """Return the error of a file that is not as it was written.

    Args:
        path: The file.
        what: What is wrong, with what stands between it and the file's name: `: too short`.
    """
    return CacheCorruptError(f"{path}{what}", fault=fault_of(Wrong.DAMAGED, path))


def opened(path: Path) -> BufferedReader:
    """Open a file of a cache; what is no file can be none.

    Raises:
        CacheCorruptError: If it is a folder, a FIFO, a device, or a link in a circle.
        OSError: If it cannot be opened.
    """
    try:
        return open_regular(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise damaged(path, f": {error.strerror}") from None
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise damaged(path, ": not a regular file") from None
        raise


@dataclass(frozen=True)
class Column:
    """Where one dataset lies in a shard file.

    Attributes:
        dtype: NumPy type string with byte order, for example `<f2`.
        shape: Shape; the first axis is the row for all but the flat columns.
        offset: Byte offset of the first element, from the start of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Header:
    """The JSON line in a shard's user block.

    Attributes:
        stage: Stage name, also the folder, for example `hints/detr-r50`.
        stage_version: Raised when the stage's code changes what it writes.
        shard: Shard number.
        params: Parameters that can change a done row.
        inputs: What the shard was made from: a name (another stage, or `manifest`) to its sha256.
        n: Clips of the shard; `done + sum(failed.values())`.
        done: Rows in the columns.
        failed: Number of failures by reason.
        weights: Digest of the weights used, None for stages without.
        companions: Shards published just before this one and belonging to it, name to sha256.
        versions: Library versions, for information only.
        columns: Name to `Column`.
        sha256: Of everything behind the user block.
        format: Version of this layout.
    """

    stage: str
    stage_version: int
    shard: int
    params: dict[str, Any]
    inputs: dict[str, str]
    n: int
    done: int
    failed: dict[str, int] = field(default_factory=dict)
    weights: str | None = None
    companions: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    sha256: str = ""
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """Digest of all that determines the shard's rows: the same fingerprint, the same bytes."""
        return digest(
            [self.stage, self.stage_version, self.shard, self.params, self.inputs, self.weights]
        )

    def to_block(self) -> bytes:
        """Return the 4 KiB user block: JSON line, crc32 line, NULs.

        Raises:
            ValueError: If the header does not fit.
        """
        text = canonical_json({**asdict(self), "fingerprint": self.fingerprint}) + b"\n"
        text += b"%08x\n" % zlib.crc32(text)
        if len(text) > HEADER_BYTES:
            raise ValueError(f"header of {self.stage}/{self.shard} takes {len(text)} bytes")
        return text.ljust(HEADER_BYTES, b"\0")


def parse_block(block: bytes, path: Path, file_bytes: int) -> Header:
    """Parse a user block, trusting nothing: neither its checksum nor the sizes it claims.

    Args:
        block: The first 4 KiB of the file (fewer if the file is shorter).
        path: The file, for messages.
        file_bytes: The file's size.

    Raises:
        CacheCorruptError: If anything in it is not as `Header.to_block` writes it.
    """
    if len(block) < HEADER_BYTES:
        raise damaged(path, ": shorter than its header")
    end = block.find(b"\n") + 1
    if block[end : end + 9] != b"%08x\n" % zlib.crc32(block[:end]) or block[end + 9 :].strip(b"\0"):
        raise damaged(path, ": damaged header")
    try:
        record: dict[str, Any] = parse_json(block[:end])
        fingerprint = record.pop("fingerprint")
        columns = {
            name: Column(c["dtype"], tuple(c["shape"]), c["offset"])
            for name, c in record.pop("columns").items()
        }
        header = Header(**record, columns=columns)
        require_types(header)
        sound = all(_lies_within(c, file_bytes) for c in columns.values())
        ends = [c.offset + c.nbytes for c in columns.values()]
        sound = sound and file_bytes <= max(ends, default=HEADER_BYTES) + _MOST_BESIDE
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise damaged(path, f": unreadable header ({error})") from error
    if header.format != FORMAT:
        raise CacheCorruptError(
            f"{path}: cache format {header.format}, this avpipe reads {FORMAT}; install the avpipe "
            "that wrote it"
        )
    if not sound or fingerprint != header.fingerprint:
        raise damaged(path, ": header and content do not belong together")
    if header.n != header.done + sum(header.failed.values()):
        raise damaged(path, ": counts do not add up")
    return header


def require_types(header: Header) -> None:
    """Refuse a header whose values are of other types than `Header` says, or counts below 0.

    What it names as made from, or published with it, are names below a cache's folder.

    Raises:
        ValueError: One is.
    """
    counts = (header.n, header.done, header.shard, header.stage_version, *header.failed.values())
    names = ("params", "inputs", "failed", "companions", "versions", "columns")
    texts = [header.stage, header.sha256, *header.inputs.values(), *header.companions.values()]
    texts += [] if header.weights is None else [header.weights]
    if not (
        all(type(count) is int and count >= 0 for count in (*counts, header.format))
        and all(type(getattr(header, name)) is dict for name in names)
        and all(isinstance(text, str) for text in texts)
    ):
        raise ValueError("values of other types")
    if not all(map(_is_below, (*header.inputs, *header.companions))):
        raise ValueError("a name that no stage has")


def _is_below(name: str) -> bool:
    """Whether a name leads to a folder inside another."""
    parts = [os.fsencode(part) for part in name.split("/")]
    return all(
        0 < len(part) <= _LONGEST_NAME and b"\0" not in part and part not in (b".", b"..")
        for part in parts
    )


def _lies_within(column: Column, file_bytes: int) -> bool:
    """Whether a column is of plain numbers or bytes, and inside the file; nothing is allocated."""
    numbers = (*column.shape, column.offset)
    if not all(type(number) is int and number >= 0 for number in numbers):
        return False
    if not (isinstance(column.dtype, str) and 0 < len(column.shape) <= _MOST_AXES):
        return False
    dtype = np.dtype(column.dtype)
    if dtype.str != column.dtype or dtype.kind not in "iufS" or not dtype.itemsize:
        return False
    if math.prod(size or 1 for size in column.shape) * dtype.itemsize > _MOST_BYTES:
        return False  # of no rows, each larger than any memory
    return column.offset >= HEADER_BYTES and column.offset + column.nbytes <= file_bytes


def params_difference(
    found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[str, Any, Any] | None:
    """Return the first parameter that differs as (name, found, wanted), None if none does."""
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            return name, found.get(name), wanted.get(name)
    return None


def encoder_option(name: str) -> str:
    """Return what asks for an encoder by the name that stages have; a run's folder is not known."""
    return "run:RUN" if name.startswith((RUN_ENCODER, RUN_REGIONS)) else name
