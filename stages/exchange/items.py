"""What an export holds of a clip, and of the whole list: read from the cache, row by row."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import AUDIO, EXTRACT, HINTS, RAGGED
from ...cache.state import shard_numbers, stages
from ...cache.store import Cache, ColumnView
from ...errors import InputError, UsageError
from ..teachers.nets.audioset import read_names

TableRow = dict[str, Any]
"""A line of the table: column to value, None where there is none."""

DONE, FAILED, TODO = "done", "failed", "not extracted"


class Item(NamedTuple):
    """One clip.

    Attributes:
        about: Id, label and what else describes it, plain values.
        jpeg: Its frame, the bytes that the cache holds.
        sound: Mono int16 at 32 kHz around the frame; None where it was dropped.
        arrays: Of each further column that has something for the clip.
    """

    about: TableRow
    jpeg: bytes
    sound: NDArray[np.int16] | None
    arrays: Mapping[str, NDArray[Any]]


class Spec(NamedTuple):
    """What a column has of a clip."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Values of a clip."""
        return math.prod(self.shape)


def columns_of(cache: Cache, named: Sequence[str] | None) -> dict[str, ColumnView]:
    """Return the columns that go along with frame and sound.

    Args:
        cache: The cache.
        named: As `Cache.column` takes them; None: what every teacher of `hints/` stores.

    Raises:
        InputError: There is no such column.
        UsageError: It is frame or sound, which are there already.
    """
    if named is None:
        found = (stage for stage in stages(cache.path) if stage.startswith(f"{HINTS}/"))
        named = [stage for stage in found if shard_numbers(cache.path, stage)]
    for name in named:
        if name.rpartition("/")[2] in {*RAGGED, *RAGGED.values()}:
            raise UsageError(f"--column {name}: frame and sound are always there; leave it out")
    return {name: cache.column(name) for name in named}


def spec_of(view: ColumnView, rows: Sequence[int]) -> tuple[Spec | None, int]:
    """Return what a column has of a clip, None where it has nothing of these; and of how many."""
    have = [row for row in rows if row in view]
    if not have:
        return None, 0
    one = view[have[0]]
    return Spec(one.dtype.str, one.shape), len(have)


class Reader:
    """Reads clips of a cache; `sounds` is False where they were dropped."""

    def __init__(self, cache: Cache, columns: Mapping[str, ColumnView]) -> None:
        """Open the columns."""
        self._cache, self._columns = cache, columns
        self._frames = cache.column(f"{EXTRACT}/frame_jpeg")
        self.sounds = bool(shard_numbers(cache.path, AUDIO))
        self._waveforms = cache.column(f"{AUDIO}/waveform") if self.sounds else None

    def read(self, rows: Sequence[int]) -> Iterator[Item]:
        """Yield the clips of some rows, all of them done."""
        for row in rows:
            heard = self._waveforms is not None and row in self._waveforms
            yield Item(
                about=self._about(row),
                jpeg=self._frames[row].tobytes(),
                sound=self._waveforms[row] if self._waveforms is not None and heard else None,
                arrays={name: view[row] for name, view in self._columns.items() if row in view},
            )

    def _about(self, row: int) -> TableRow:
        shard, index = self._cache.locate(EXTRACT, row)
        line = self._cache.manifest.line(row)
        found: TableRow = {"id": line["id"], "row": row, "label": line.get("label")}
        for name, kind in (
            ("duration_s", float), ("frame_pts_s", float), ("silent", bool), ("short", bool)
        ):  # fmt: skip
            found[name] = kind(shard.item(name, index))
        if self._waveforms is not None:
            sample = self._cache.column(f"{AUDIO}/frame_sample")
            found["frame_sample"] = int(sample[row]) if row in sample else None
        return found


def table_rows(
    cache: Cache, file_of_row: Mapping[int, str], wanted: Collection[str] | None
) -> list[TableRow]:
    """Return a line for every clip of the cache, or of a list: done, failed, or not extracted.

    Args:
        cache: The cache.
        file_of_row: Name of the file in which each exported clip lies.
        wanted: Ids to tell of; None: all.
    """
    failures = {failure.row: failure for failure in cache.failures()}
    done, tags = set(cache.rows.tolist()), _Tags(cache)
    found = []
    for row, line in cache.manifest.lines():
        if row in cache.manifest.retries or (wanted is not None and line["id"] not in wanted):
            continue
        failure, file = failures.get(row), file_of_row.get(row)
        found.append(
            {
                "id": line["id"],
                "row": row,
                "state": DONE if row in done else FAILED if failure else TODO,
                "reason": str(failure.reason) if failure else None,
                "detail": failure.detail if failure else None,
                "label": line.get("label"),
                "source": line.get("source"),
                "tags": tags.of(row),
                "file": file,
            }
        )
    return found


class _Tags:
    """What the first teacher that tags sounds heard, by name, the best first."""

    def __init__(self, cache: Cache) -> None:
        self._names, self._view = read_names(), None
        for stage in stages(cache.path):
            if stage.startswith(f"{HINTS}/") and self._view is None:
                with suppress(InputError):
                    self._view = cache.column(f"{stage}/tags")

    def of(self, row: int) -> str | None:
        """Return the tags of a clip, None where nobody heard it."""
        if self._view is None or row not in self._view:
            return None
        return "; ".join(self._names[number] for number in self._view[row].tolist())
