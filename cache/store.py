"""The Python door to a cache: clips by id, columns by row."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Fault, InputError, Wrong
from .alignment import require_aligned
from .manifest import Manifest
from .schema import AUDIO, AUDIO_RATE_HZ, EXTRACT, NEIGHBORS, RAGGED, shard_path
from .shard import Shard, read_header
from .state import (
    published_ns,
    require_cache,
    require_manifest_of,
    require_named,
    require_shard_of,
    require_together,
    shard_numbers,
    stages,
)

_MAX_OPEN = 256
"""Shards kept open; well below the usual limit of 1,024 files."""


class Failure(NamedTuple):
    """A clip that could not be used."""

    id: str
    reason: str
    detail: str
    row: int


class CachedClip(NamedTuple):
    """One clip as extracted.

    Attributes:
        id: Clip id.
        row: Its row in the cache.
        label: Its label, None where the input had none.
        frame: `(H, W, 3)` uint8 RGB, short side 256.
        spectrogram: `(257, 276)` float32 natural-log PSD of the centre 3 s (the shape is that of
            the kind that the cache was extracted with).
        spectrogram_wide: `(257, 462)` float32, the same with its margins.
        valid_cols: Half-open range of columns of `spectrogram_wide` that hold real sound.
        waveform: Mono int16 around the frame, None if `audio` was dropped.
        waveform_rate_hz: Its rate, 32,000.
        frame_sample: Index into `waveform` where the frame's time lies, None like `waveform`.
        frame_pts_s: Time of the frame from the container's start.
        duration_s: Duration of the file's video.
        silent: The 3 s are below -60 dBFS.
        short: Under 3 s of sound; it was tiled.
    """

    id: str
    row: int
    label: str | None
    frame: NDArray[np.uint8]
    spectrogram: NDArray[np.float32]
    spectrogram_wide: NDArray[np.float32]
    valid_cols: tuple[int, int]
    waveform: NDArray[np.int16] | None
    waveform_rate_hz: int
    frame_sample: int | None
    frame_pts_s: float
    duration_s: float
    silent: bool
    short: bool


class ColumnView:
    """One column of a stage, indexed by cache row."""

    def __init__(self, cache: Cache, stage: str, name: str) -> None:
        """See `Cache.column`."""
        self._cache = cache
        self._stage = stage
        self._name = name

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return the row's element: `(...)` of the column, or the flat array of a ragged one.

        Raises:
            KeyError: If the stage has nothing for that row.
        """
        shard, index = self._cache.locate(self._stage, row)
        if self._name in RAGGED:
            offsets = shard.column(RAGGED[self._name])
            return shard.span(self._name, int(offsets[index]), int(offsets[index + 1]))
        return shard.item(self._name, index)

    def __contains__(self, row: int) -> bool:
        """Whether the stage has something for that row."""
        try:
            self._cache.locate(self._stage, row)
        except KeyError:
            return False
        return True


class NeighborView:
    """Nearest neighbours of one encoder over one id set, indexed by cache row."""

    def __init__(self, cache: Cache, stage: str) -> None:
        """See `Cache.neighbors`."""
        self.stage = stage
        self._rows = ColumnView(cache, stage, "rows")
        self._similarity = ColumnView(cache, stage, "similarity")

    def __getitem__(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
        """Return the rows nearest to `row` and their cosine, `(k,)` each, -1 where there is none.

        Raises:
            KeyError: If `row` is not in the id set.
        """
        return self._rows[row], self._similarity[row]

    def __contains__(self, row: int) -> bool:
        """Whether `row` is in the id set."""
        return row in self._rows


class Cache:
    """A cache folder, opened for reading.

    `len(cache)`, `cache.ids` and `cache.rows` speak of the clips that are done. The object can be
    sent to other processes; each opens files of its own.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        verify: bool = True,
        manifest: Manifest | None = None,
    ) -> None:
        """Open a cache.

        Args:
            path: Its folder.
            verify: Check each shard's sha256 when it is first opened in this process.
            manifest: Its manifest, if that was read already.

        Raises:
            InputError: If there is no cache.
            CacheCorruptError: If its manifest is damaged.
        """
        self.path = Path(path).absolute()
        self._verify = verify
        require_cache(self.path)
        self.manifest = Manifest(self.path) if manifest is None else manifest
        require_manifest_of(self.path, self.manifest)
        self._shards: OrderedDict[tuple[str, int], Shard] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by path."""
        return _reopen, (str(self.path), self._verify)

    def __len__(self) -> int:
        """Return the number of clips that are done."""
        return len(self.rows)

    def extracted_shards(self) -> list[int]:
        """Return the shards of `extract`, but for those planned since this cache was opened."""
        numbers = sorted(shard_numbers(self.path, EXTRACT))
        return [number for number in numbers if number < self.manifest.num_shards]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the clips that are done, ascending."""
        parts = [self.shard(EXTRACT, number).rows for number in self.extracted_shards()]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the clips that are done, aligned with `rows`."""
        done = set(self.rows.tolist())
        return [line["id"] for row, line in self.manifest.lines() if row in done]

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return dict(zip(self.ids, self.rows.tolist(), strict=True))

    def row_of(self, clip_id: str) -> int:
        """Return the row of a clip that is done.

        Raises:
            KeyError: If no such clip is done.
        """
        try:
            return self._row_of_id[clip_id]
        except KeyError:
            raise KeyError(f"{self.path} has no finished clip {clip_id!r}") from None

    def shard(self, stage: str, number: int) -> Shard:
        """Open a shard; the least recently used ones are closed.

        Raises:
            FileNotFoundError: If it is not there.
            CacheCorruptError: If it is damaged, or was extracted for another manifest: its clips
                are not those of these ids; or if it holds sound of another decode pass than the
                pictures of its clips.
        """
        key = (stage, number)
        shard = self._shards.get(key)
        if shard is None:
            shard = Shard(shard_path(self.path, stage, number), verify=self._verify)
            require_named(shard.header, stage, number, shard.path)
            require_shard_of(self.manifest, number, shard.header, shard.path)
            require_aligned(shard, self.manifest.shard_rows(number))
            if stage == AUDIO:
                self._require_together(shard, number)
            self._shards[key] = shard
            if len(self._shards) > _MAX_OPEN:
                self._shards.popitem(last=False)
        else:
            self._shards.move_to_end(key)
        return shard

    def _require_together(self, audio: Shard, number: int) -> None:
        """Check sounds against the pictures that are open, or else those that are there."""
        opened = self._shards.get((EXTRACT, number))
        with suppress(FileNotFoundError):  # none of its clips is done
            extract = opened or read_header(shard_path(self.path, EXTRACT, number))
            header = extract.header if isinstance(extract, Shard) else extract
            require_together(audio.header, header, audio.path)

    def locate(self, stage: str, row: int) -> tuple[Shard, int]:
        """Return the shard that holds `row` of a stage, and the row's position in its columns.

        Raises:
            KeyError: If the stage has nothing for that row.
        """
        try:
            shard = self.shard(stage, self.manifest.shard_of(row))
        except (FileNotFoundError, IndexError):
            raise KeyError(f"{self.path}: {stage} has no row {row}") from None
        index = shard.position.get(row)
        if index is None:
            raise KeyError(f"{self.path}: {stage} has no row {row}")
        return shard, index

    def column(self, name: str) -> ColumnView:
        """Return a column, to be indexed by row.

        Args:
            name: A stage (`hints/detr-r50` means its `value`), or stage and column
                (`extract/spectrogram_wide`).

        Raises:
            InputError: If the cache has no such stage or column.
        """
        stage, _, column = name.rpartition("/")
        for folder, wanted in ((name, "value"), (stage, column)):
            numbers = shard_numbers(self.path, folder) if folder else set()
            if numbers:
                if wanted in self.shard(folder, min(numbers)):
                    return ColumnView(self, folder, wanted)
                raise InputError(f"{self.path}: stage {folder} has no column {wanted!r}")
        raise InputError(
            f"{self.path} has no stage for column {name!r}",
            fault=Fault(Wrong.NO_COLUMN, self.path, name),
        )

    def neighbors(self, name: str) -> NeighborView:
        """Return nearest neighbours, to be indexed by row.

        Args:
            name: `image-imagenet-resnet18@1a2b3c4d`, or without the digest of the id set: the only
                such folder, or the newest one.

        Raises:
            InputError: If there are none of that name.
        """
        folders = [
            stage
            for stage in stages(self.path)
            if stage == f"{NEIGHBORS}/{name}" or stage.startswith(f"{NEIGHBORS}/{name}@")
        ]
        if not folders:
            raise InputError(
                f"{self.path} has no neighbours {name!r}",
                fault=Fault(Wrong.NO_NEIGHBORS, self.path, f"{NEIGHBORS}/{name}"),
            )
        return NeighborView(self, max(folders, key=lambda stage: published_ns(self.path / stage)))

    def clip(self, clip_id: str) -> CachedClip:
        """Return one clip.

        Raises:
            KeyError: If no such clip is done.
            CacheCorruptError: If its shard is damaged.
        """
        from PIL import Image

        row = self.row_of(clip_id)
        shard, index = self.locate(EXTRACT, row)
        jpeg = ColumnView(self, EXTRACT, "frame_jpeg")[row]
        wide = shard.item("spectrogram_wide", index).astype(np.float32)
        columns = shard.header.params["spectrogram"].rpartition("x")[2]
        centre = int(columns) if columns.isdecimal() else wide.shape[1]  # mel bands: no margins
        margin = (wide.shape[1] - centre) // 2
        audio = ColumnView(self, AUDIO, "waveform")
        heard = row in audio
        low, high = shard.item("valid_cols", index)
        return CachedClip(
            id=clip_id,
            row=row,
            label=self.manifest.line(row).get("label"),
            frame=np.asarray(Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB")),
            spectrogram=wide[:, margin : wide.shape[1] - margin],
            spectrogram_wide=wide,
            valid_cols=(int(low), int(high)),
            waveform=audio[row] if heard else None,
            waveform_rate_hz=AUDIO_RATE_HZ,
            frame_sample=self._frame_sample(row) if heard else None,
            frame_pts_s=float(shard.item("frame_pts_s", index)),
            duration_s=float(shard.item("duration_s", index)),
            silent=bool(shard.item("silent", index)),
            short=bool(shard.item("short", index)),
        )

    def _frame_sample(self, row: int) -> int:
        return int(ColumnView(self, AUDIO, "frame_sample")[row])

    def failures(self, reason: str = "") -> list[Failure]:
        """Return the clips that failed (for a reason, if given) and were not retried since, by row.

        A shard in which nothing failed for that reason is not opened, only its header read.
        """
        superseded = self.manifest.retries
        found = []
        for number in self.extracted_shards():
            if reason and reason not in read_header(shard_path(self.path, EXTRACT, number)).failed:
                continue
            shard = self.shard(EXTRACT, number)
            columns = (shard.column(f"failed_{part}") for part in ("row", "reason", "detail"))
            for row, why, detail in zip(*columns, strict=True):
                if row not in superseded and reason in ("", why.decode()):
                    found.append(
                        Failure(
                            self.manifest.line(int(row))["id"],
                            why.decode(),
                            detail.decode("utf-8", "replace"),
                            int(row),
                        )
                    )
        return found


def _reopen(path: str, verify: bool) -> Cache:
    return Cache(path, verify=verify)
