"""Caches without videos: a stand-in decoder gives every clip rows that depend on its id alone."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from avpipe.cache.manifest import Manifest
from avpipe.cache.segment import Line
from avpipe.errors import ClipError
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams, Row
from PIL import Image


class FakeDecoder:
    """Makes a row from a line's id; ids in `failures` fail, with their reasons in turn."""

    def __init__(self, failures: Mapping[str, Sequence[str]] | None = None) -> None:
        self.failures = {name: list(reasons) for name, reasons in (failures or {}).items()}
        self.calls: list[str] = []

    def row(self, line: Mapping[str, Any]) -> Row:
        self.calls.append(line["id"])
        if reasons := self.failures.get(line["id"]):
            raise ClipError(reasons.pop(0) if len(reasons) > 1 else reasons[0], "made to fail")
        return Row(**made_of(line["id"]))


@lru_cache(128)
def made_of(clip_id: str) -> Row:
    """Make the row of a clip, once."""
    rng = np.random.default_rng(zlib.crc32(clip_id.encode()))
    height, width = 256, int(rng.integers(256, 300))
    jpeg = io.BytesIO()
    colour = tuple(rng.integers(0, 256, 3).tolist())
    Image.new("RGB", (width, height), colour).save(jpeg, "JPEG", quality=95)
    return Row(
        frame_jpeg=jpeg.getvalue(),
        frame_hw=(height, width),
        spectrogram_wide=rng.normal(size=(257, 462)).astype(np.float16),
        valid_cols=(0, 462),
        frame_pts_s=2.0,
        duration_s=4.0,
        silent=False,
        short=bool(rng.integers(2)),
        waveform=rng.integers(-9, 9, int(rng.integers(100, 200))).astype(np.int16),
        frame_sample=50,
    )


def publish_manifest(
    cache: Path, ids: Sequence[str], *, shard_clips: int = 4, root: Path | None = None
) -> Manifest:
    """Plan clips of those ids as one segment; no file is needed."""
    root = root or cache.parent
    lines = [
        Line(id=name, root=0, path=f"{name}.mp4", source=name, bytes=1, label=f"class {name[-1]}")
        for name in ids
    ]
    roots = [{"path": str(root), "device": root.stat().st_dev}]
    assert Manifest(cache).publish(lines, len(lines), roots, shard_clips=shard_clips)
    return Manifest(cache)


def make_cache(
    cache: Path,
    ids: Sequence[str],
    *,
    shard_clips: int = 4,
    failures: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a whole extracted cache."""
    manifest = publish_manifest(cache, ids, shard_clips=shard_clips)
    extract_all(cache, manifest, FakeDecoder(failures))
    return cache


def extract_all(cache: Path, manifest: Manifest, decoder: FakeDecoder) -> None:
    """Extract every shard of a manifest with a stand-in decoder."""
    for shard in range(manifest.num_shards):
        extract_shard(ExtractTask(cache, manifest.plan(shard), FeatureParams(), {}), decoder)


def file_bytes(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
