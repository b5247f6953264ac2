"""What embedding would do, for `--dry-run`: clips, bytes and time."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...cache.schema import EXTRACT, shard_path
from ...cache.shard import read_header
from ...cache.state import (
    WHOLE,
    Part,
    extracted_shards,
    of_part,
    require_cache,
    shard_numbers,
)
from ...devices import usable_device
from ...stages.teachers.live import build_network
from ...stages.teachers.protocol import Teacher, load_teacher, network_of
from ...weights import RANDOM, check_specs, resolve
from ..output import Document, size_text, table, time_text
from .run_encoder import given_networks

_TIMED_CLIPS = 4
_FRAME = np.zeros((256, 256, 3), np.uint8)
_WAVEFORM = np.zeros(320_000, np.int16)  # 10 s at 32 kHz


def estimate(
    cache: Path,
    stages: Sequence[tuple[str, str]],
    device: str,
    audio: str,
    shards: Collection[int] | None = None,
    part: Part = WHOLE,
    *,
    specs: Sequence[str] = (),
) -> dict[str, Any]:
    """Say what embedding would do: clips, bytes, and seconds by a few clips of silence and black.

    Stages are counted by the shards they lack. Weights are not looked for.

    Args:
        cache: Folder.
        stages: Kind and network, as in `hints`, `detr-r50`.
        device: Where the networks would run.
        audio: What hears, as an option names it: the encoder of a run is opened.
        shards: Those that would be done; None: all that are extracted.
        part: Which of them would be done.
        specs: What `--weights` says; checked, not looked for.

    Returns:
        The `avpipe.embed-estimate/1` document.

    Raises:
        UsageError: There is no such device, or the weights are for another network.
        InputError: There is no such run, or no cache.
    """
    require_cache(cache)
    check_specs(specs, {network_of(name) for _, name in stages})
    extracted, device = extracted_shards(cache), usable_device(device)
    wanted = extracted if shards is None else extracted.intersection(shards)
    given, _ = given_networks(audio)
    rows = []
    for kind, name in stages:
        teacher = given[name][0] if name in given else load_teacher(name, kind)
        missing = of_part(wanted - shard_numbers(cache, f"{kind}/{name}"), part)
        clips = sum(read_header(shard_path(cache, EXTRACT, shard)).done for shard in missing)
        rows.append(
            {
                "stage": f"{kind}/{name}",
                "clips": clips,
                "bytes_out": clips * bytes_per_clip(teacher),
                "seconds": round(clips * _seconds_per_clip(teacher, device), 1) if clips else 0.0,
            }
        )
    return {"schema": "avpipe.embed-estimate/1", "device": device, "stages": rows}


def estimate_text(document: Document) -> str:
    """Render the estimate."""
    rows = [
        (row["stage"], row["clips"], size_text(row["bytes_out"]), time_text(row["seconds"]))
        for row in document["stages"]
    ]
    return table(("stage", "clips", "size", f"time on {document['device']}"), rows)


def bytes_per_clip(teacher: Teacher) -> int:
    """Return what a teacher's columns take of one clip."""
    columns = teacher.COLUMNS.values()
    return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in columns)


def _seconds_per_clip(teacher: Teacher, device: str) -> float:
    item = (_FRAME,) if teacher.READS == "frame" else (_WAVEFORM, len(_WAVEFORM) // 2)
    random = resolve("any", teacher.FILES, (RANDOM,))  # a run has weights of its own
    network = build_network(teacher, random, device)
    network(np.stack([teacher.prepare(*item)]))  # the first call sets things up
    started = time.perf_counter()
    network(np.stack([teacher.prepare(*item) for _ in range(_TIMED_CLIPS)]))
    return (time.perf_counter() - started) / _TIMED_CLIPS
