"""Small caches for training tests: coloured squares in noise, a tone for each colour; no video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import Header, shard_path
from avpipe.cache.segment import Line
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams, Row, encode_jpeg
from avpipe.stages.neighbors.cluster import cluster
from avpipe.stages.neighbors.run import neighbors
from avpipe.stages.spectrogram import FRONT_ENDS, log_spectrogram
from numpy.typing import NDArray

COLOURS = np.array([(230, 40, 40), (40, 220, 60), (50, 80, 240), (230, 220, 40)])
TONES_HZ = (300.0, 900.0, 2500.0, 6000.0)


def make_cache(
    folder: Path,
    num_clips: int = 24,
    *,
    shard_clips: int = 16,
    frame_hw: tuple[int, int] = (64, 80),
    kind: str = "257x276",
    broken: frozenset[str] = frozenset(),
    first: int = 0,
    sources: int | None = None,
    ids: Sequence[str] = (),
) -> Cache:
    """Write a cache, or add to it: clip number i has id `clip00i` and label `class<i % 4>`.

    Clips may have other ids, ones that end in three digits.

    Frames differ in width by up to 8 px; every fifth clip is `short`: its margins hold no sound.
    Clips are of videos of their own, or of so many `sources`. The spectrograms of those in `broken`
    hold a NaN. Numbers begin with `first`; rows with 0.
    """
    lines = [
        Line(id=ids[i - first] if ids else f"clip{i:03d}", root=0, path=f"{i}.mp4", bytes=1,
             source=f"{i % (sources or i + 1)}", label=f"class{i % 4}")
        for i in range(first, first + num_clips)
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    roots = [{"path": str(folder), "device": folder.stat().st_dev}]
    num_shards = Manifest(folder).num_shards
    assert Manifest(folder).publish(lines, len(lines), roots, shard_clips=shard_clips)
    manifest = Manifest(folder)
    for shard in range(num_shards, manifest.num_shards):
        task = ExtractTask(folder, manifest.plan(shard), FeatureParams(spectrogram=kind), {})
        extract_shard(task, DrawnClips(frame_hw, kind, broken))
    return Cache(folder)


class DrawnClips:
    """Stands in for the decoder: draws a clip from its line."""

    def __init__(self, frame_hw: tuple[int, int], kind: str, broken: frozenset[str]) -> None:
        self.frame_hw = frame_hw
        self.broken = broken
        self.kind = kind

    def row(self, line: Mapping[str, Any]) -> Row:
        number, label = int(line["id"][-3:]), int(line["label"][-1])
        row = drawn(number, label, self.frame_hw, self.kind)
        wide = row["spectrogram_wide"].copy()
        if line["id"] in self.broken:
            wide[:, wide.shape[1] // 2] = np.nan
        return Row(**{**row, "spectrogram_wide": wide})


@lru_cache(256)
def drawn(number: int, label: int, frame_hw: tuple[int, int], kind: str) -> Row:
    """Draw a clip, once."""
    rng = np.random.default_rng(number)
    height, width = frame_hw[0], frame_hw[1] + number % 9
    front_end, short = FRONT_ENDS[kind], number % 5 == 4
    sound = tone_of(label, front_end.wide_samples, front_end.rate_hz, rng)
    wide = log_spectrogram(sound, kind)[:, : front_end.wide_columns]
    margin = front_end.margin if short else 0
    return Row(
        frame_jpeg=encode_jpeg(frame_of(label, height, width, rng)),
        frame_hw=(height, width),
        spectrogram_wide=wide.astype(np.float16),
        valid_cols=(margin, front_end.wide_columns - margin),
        frame_pts_s=2.0,
        duration_s=4.0,
        silent=False,
        short=short,
        waveform=(tone_of(label, 128_000, 32_000, rng) * 32767).round().astype(np.int16),
        frame_sample=64_000,
    )


def frame_of(label: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a class-coloured square somewhere in grey noise, `(height, width, 3)`."""
    frame = rng.integers(90, 160, (height, width, 1)).repeat(3, axis=2).astype(np.uint8)
    side = min(height, width) // 3
    top, left = rng.integers(0, (height - side, width - side))
    frame[top : top + side, left : left + side] = COLOURS[label]
    return frame


def tone_of(
    label: int, num_samples: int, rate_hz: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the tone of a class in faint noise, `(num_samples,)`."""
    phase = 2 * np.pi * TONES_HZ[label] / rate_hz
    tone = 0.3 * np.sin(phase * np.arange(num_samples))
    return (tone + 0.003 * rng.standard_normal(num_samples)).astype(np.float32)


def add_values(cache: Cache, stage: str, width: tuple[int, ...], weights: str = "made") -> None:
    """Add a teacher's stage: for each clip noise around a direction of its class, float16."""
    directions = np.random.default_rng(99).standard_normal((4, *width))
    for number in range(cache.manifest.num_shards):
        rows = cache.shard("extract", number).rows
        value = np.zeros((len(rows), *width), np.float16)
        for i, row in enumerate(rows.tolist()):
            noise = np.random.default_rng(row).standard_normal(width)
            value[i] = directions[row % 4] + 0.2 * noise
        header = Header(stage, 1, number, {}, {}, n=len(rows), done=len(rows), weights=weights)
        columns = {"row": Rows.array(rows), "value": Rows.array(value)}
        write_shard(shard_path(cache.path, stage, number), header, columns)


def add_inputs(
    cache: Cache, *, ids: list[str] | None = None, hold_out: list[str] | None = None, k: int = 5
) -> None:
    """Add what recipes read beside clips: hints, neighbours and clusters, small but real."""
    add_values(cache, "hints/panns-wavegram", (24,))
    add_values(cache, "hints/detr-r50", (20, 7, 7))
    add_values(cache, "embeddings/imagenet-resnet18", (16,))
    add_values(cache, "embeddings/vggsound-resnet18", (16,))
    for encoder in ("imagenet-resnet18", "vggsound-resnet18"):
        neighbors(cache, encoder, k, ids=ids, hold_out=hold_out or ())
    cluster(cache, "vggsound-resnet18", 4, ids=ids, hold_out=hold_out or ())
