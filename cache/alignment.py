"""Whether a shard's columns agree with each other, with its header and with the manifest."""

from __future__ import annotations

import numpy as np

from .schema import AUDIO, CENTROIDS, EXTRACT, RAGGED, damaged
from .shard import Shard

_COLUMNS = {
    EXTRACT: (
        "frame_jpeg", "frame_offset", "frame_hw", "spectrogram_wide", "valid_cols", "frame_pts_s",
        "duration_s", "silent", "short", "failed_row", "failed_reason", "failed_detail",
    ),
    AUDIO: ("waveform", "waveform_offset", "frame_sample"),
}  # fmt: skip
"""What each shard of a stage has, beside `row`."""


def require_aligned(shard: Shard, rows: range) -> None:
    """Refuse a shard whose checksums are right and whose content leads elsewhere.

    Args:
        shard: Open.
        rows: Those that the manifest gives it.

    Raises:
        CacheCorruptError: If its columns do not belong together.
    """
    if problem := misaligned(shard, rows):
        raise damaged(shard.path, problem)


def misaligned(shard: Shard, rows: range) -> str:
    """Return what is wrong, to be put behind the file's name; "" where nothing is."""
    header = shard.header
    if lacking := [name for name in _COLUMNS.get(header.stage, ()) if name not in shard]:
        return f": no column {lacking[0]}"
    if "row" not in shard or shard.rows.dtype.kind != "i" or shard.rows.ndim != 1:
        return ": no column of rows"
    index = shard.rows
    if len(index) != header.done:
        return f": {len(index)} rows, the header says {header.done}"
    if "failed_row" in shard:
        index = np.sort(np.concatenate([index, shard.column("failed_row")]))
        if not np.array_equal(index, np.arange(rows.start, rows.stop)):
            return ": done and failed rows are not those of the manifest"
    if np.any(np.diff(index) <= 0) or (len(index) and not (index[0] in rows and index[-1] in rows)):
        return ": rows are not those of the manifest"
    return _uneven(shard)


def _uneven(shard: Shard) -> str:
    header = shard.header
    for name, column in header.columns.items():
        if name in RAGGED:
            offsets = shard.column(RAGGED[name]) if RAGGED[name] in shard else np.zeros(0, np.int64)
            cut = len(offsets) == header.done + 1 and offsets.dtype.kind in "iu" and offsets[0] == 0
            if not cut or np.any(offsets[1:] < offsets[:-1]) or offsets[-1] != column.shape[0]:
                return f": {RAGGED[name]} does not cut {name}"
        elif name.startswith("failed_"):
            if column.shape[0] != sum(header.failed.values()):
                return f": {name} has {column.shape[0]} rows of {sum(header.failed.values())}"
        elif name not in (*RAGGED.values(), CENTROIDS) and column.shape[0] != header.done:
            return f": {name} has {column.shape[0]} rows of {header.done}"
    return ""
