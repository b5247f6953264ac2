"""`avpipe embed-teachers` and `avpipe knn`: which networks run, and what they tell."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.schema import EXTRACT, shard_path
from ..cache.shard import read_header
from ..cache.state import extracted_shards, shard_numbers
from ..cache.store import Cache
from ..errors import UsageError
from ..stages.embed import HINTS, embed, pick_device
from ..stages.neighbors import neighbors, source_kind
from ..stages.teachers.protocol import choices, load_teacher
from ..weights import PRETRAINED, RANDOM, check_specs, resolve
from .id_lists import hold_out_notices, read_ids
from .watch import watch_stages

NONE = "none"
_TIMED_CLIPS = 4
_FRAME = np.zeros((256, 256, 3), np.uint8)
_WAVEFORM = np.zeros(320_000, np.int16)  # 10 s at 32 kHz


@dataclass(frozen=True)
class TeacherSettings:
    """What `embed-teachers` and `knn` are told about networks."""

    cache: Path
    visual: str
    """A teacher of frames, or `none`."""
    audio: str
    """A teacher of sounds, or `none`."""
    weights: tuple[str, ...] = (PRETRAINED,)
    device: str = "auto"
    batch_size: int = 32
    overwrite: bool = False

    def names(self) -> list[str]:
        """Return the teachers to run.

        Raises:
            UsageError: One is no teacher of its modality, or none is left.
        """
        found = []
        for modality, name in (("visual", self.visual), ("audio", self.audio)):
            if name == NONE:
                continue
            if name not in choices(modality):
                known = ", ".join([*choices(modality), NONE])
                raise UsageError(f"{name!r} is no {modality} teacher: one of {known}")
            found.append(name)
        if not found:
            raise UsageError("nothing to do: both teachers are none")
        return found


@dataclass(frozen=True)
class NeighborSettings:
    """What `knn` is told about the search."""

    k: int = 1000
    ids: Path | None = None
    hold_out: Path | None = None


def embed_teachers(settings: TeacherSettings) -> dict[str, Any]:
    """Run both teachers over the cache; return the `avpipe.embed-teachers/1` document.

    Raises:
        Errors as `stages.embed.embed` does.
    """
    with watch_stages() as progress:
        done = embed(
            Cache(settings.cache),
            HINTS,
            settings.names(),
            specs=settings.weights,
            device=settings.device,
            batch_size=settings.batch_size,
            overwrite=settings.overwrite,
            progress=progress,
        )
    return done.as_json()


def search_neighbors(settings: TeacherSettings, search: NeighborSettings) -> dict[str, Any]:
    """Embed the clips where that is not done yet, search neighbours; return `avpipe.knn/1`.

    A teacher that has hints in the cache already serves with those.

    Raises:
        Errors as `stages.embed.embed` and `stages.neighbors.neighbors` do.
    """
    started = time.monotonic()
    cache, names = Cache(settings.cache), settings.names()
    ids, hold_out = read_ids(search.ids), read_ids(search.hold_out) or []
    check_specs(settings.weights, names)
    weights: dict[str, str] = {}
    notices = hold_out_notices(search.hold_out, hold_out, cache.ids)
    found, embedded = [], 0
    with watch_stages() as progress:
        for name in names:
            own = [spec for spec in settings.weights if _is_for(spec, name)]
            made = embed(
                cache,
                source_kind(cache, name),
                [name],
                specs=own,
                device=settings.device,
                batch_size=settings.batch_size,
                overwrite=settings.overwrite,
                progress=progress,
            )
            embedded += made.done
            weights |= made.weights
        for name in names:
            found.append(
                neighbors(
                    cache,
                    name,
                    search.k,
                    ids=ids,
                    hold_out=hold_out,
                    overwrite=settings.overwrite,
                    progress=progress,
                )
            )
    done, seconds = sum(part.done for part in found), time.monotonic() - started
    notices += dict.fromkeys(line for part in found for line in part.notices)
    return {
        "schema": "avpipe.knn/1",
        "k": found[0].k,
        "stages": [part.stage for part in found],
        "embedded": embedded,
        "done": done,
        "skipped": sum(part.skipped for part in found),
        "failed": 0,
        "failed_total": 0,
        "weights": weights,
        "seconds": round(seconds, 3),
        "per_second": round(done / seconds, 3) if done else 0.0,
        "notices": notices,
    }


def _is_for(spec: str, name: str) -> bool:
    """Whether a `--weights` speaks of this network, or of all."""
    other, sign, _ = spec.partition("=")
    return not sign or other == name or "/" in other


def estimate(settings: TeacherSettings, kind: str) -> dict[str, Any]:
    """Say what embedding would do: clips, bytes, and seconds by a few clips of silence and black.

    Stages are counted by the shards they lack. Weights are not looked for.

    Args:
        settings: Which networks.
        kind: `hints` or `embeddings`.

    Raises:
        UsageError: There is no such teacher or device.
    """
    extracted = extracted_shards(settings.cache)
    device = pick_device(settings.device)
    rows = []
    for name in settings.names():
        teacher = load_teacher(name)
        missing = extracted - shard_numbers(settings.cache, f"{kind}/{name}")
        clips = sum(
            read_header(shard_path(settings.cache, EXTRACT, shard)).done for shard in missing
        )
        row_bytes = sum(
            np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in teacher.COLUMNS.values()
        )
        rows.append(
            {
                "stage": f"{kind}/{name}",
                "clips": clips,
                "bytes_out": clips * row_bytes,
                "seconds": round(clips * _seconds_per_clip(name, device), 1) if clips else 0.0,
            }
        )
    return {"schema": "avpipe.embed-estimate/1", "device": device, "stages": rows}


def _seconds_per_clip(name: str, device: str) -> float:
    teacher = load_teacher(name)
    item = (_FRAME,) if teacher.READS == "frame" else (_WAVEFORM, len(_WAVEFORM) // 2)
    network = teacher.build(resolve(name, teacher.FILES, (RANDOM,)), device)
    network(np.stack([teacher.prepare(*item)]))  # the first call sets things up
    started = time.perf_counter()
    network(np.stack([teacher.prepare(*item) for _ in range(_TIMED_CLIPS)]))
    return (time.perf_counter() - started) / _TIMED_CLIPS
