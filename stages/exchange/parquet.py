"""Parquet: a row for each clip, a column for frame, sound and each of the cache's columns.

Arrays are flat, their shape stands in the field's metadata (`shape`, JSON); rate and encoding of
frames and sounds too. A clip that a column lacks is null there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from ...cache.schema import AUDIO_RATE_HZ
from .items import Item, Spec, TableRow

SUFFIX = ".parquet"
TABLE = "clips.parquet"
_CLIPS_AT_A_TIME = 64
_ABOUT = {
    "id": pyarrow.string(),
    "row": pyarrow.int64(),
    "label": pyarrow.string(),
    "duration_s": pyarrow.float64(),
    "frame_pts_s": pyarrow.float64(),
    "silent": pyarrow.bool_(),
    "short": pyarrow.bool_(),
    "frame_sample": pyarrow.int64(),
}


def write(path: Path, items: Iterable[Item], columns: Mapping[str, Spec]) -> None:
    """Write a file, some clips at a time."""
    schema, rest = _schema(columns), iter(items)
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(islice(rest, _CLIPS_AT_A_TIME)):
            writer.write_batch(pyarrow.record_batch(list(_arrays(some, columns)), schema=schema))


def _schema(columns: Mapping[str, Spec]) -> pyarrow.Schema:
    rate = {"rate_hz": str(AUDIO_RATE_HZ), "channels": "1"}
    fields = [
        *(pyarrow.field(name, kind) for name, kind in _ABOUT.items()),
        pyarrow.field("frame_jpeg", pyarrow.binary()),
        pyarrow.field("sound", pyarrow.list_(pyarrow.int16()), metadata=rate),
    ]
    for name, spec in columns.items():
        kind = pyarrow.list_(pyarrow.from_numpy_dtype(np.dtype(spec.dtype)), spec.size)
        shape = {"shape": json.dumps(list(spec.shape))}
        fields.append(pyarrow.field(name, kind, metadata=shape))
    return pyarrow.schema(fields)


def _arrays(items: Sequence[Item], columns: Mapping[str, Spec]) -> Iterator[pyarrow.Array]:
    """Yield the columns of some clips in the schema's order."""
    for name, kind in _ABOUT.items():
        yield pyarrow.array([_text(item.about.get(name)) for item in items], kind)
    yield pyarrow.array([item.jpeg for item in items], pyarrow.binary())
    yield pyarrow.array([item.sound for item in items], pyarrow.list_(pyarrow.int16()))
    for name, spec in columns.items():
        blank = np.zeros(spec.size, spec.dtype)
        flat = [item.arrays[name].ravel() if name in item.arrays else blank for item in items]
        lacks = pyarrow.array([name not in item.arrays for item in items])
        values = pyarrow.array(np.concatenate(flat))
        yield pyarrow.FixedSizeListArray.from_arrays(values, spec.size, mask=lacks)


def write_table(path: Path, rows: Sequence[TableRow]) -> None:
    """Write the table of clips."""
    texts = {name: pyarrow.string() for name in rows[0] if name != "row"}
    schema = pyarrow.schema([("id", texts.pop("id")), ("row", pyarrow.int64()), *texts.items()])
    columns = [
        pyarrow.array([_text(row[field.name]) for row in rows], field.type) for field in schema
    ]
    parquet.write_table(pyarrow.table(columns, schema=schema), path)


def _text(value: Any) -> Any:
    """Return a value; in a text, bytes that are no UTF-8 become escapes of their number."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
