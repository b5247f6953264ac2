"""`avpipe embed-teachers` and `avpipe knn`: which networks run, and what they tell."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.advice import advice
from ..cache.schema import EXTRACT, HINTS, OBJECTS, RUN_ENCODER, RUN_REGIONS, shard_path
from ..cache.shard import read_header
from ..cache.state import extracted_shards, shard_numbers
from ..cache.store import Cache
from ..errors import UsageError
from ..machine import AUTO
from ..stages.embed.run import EmbedSummary, Progress, embed, pick_device
from ..stages.embed.todo import Given
from ..stages.neighbors.run import neighbors
from ..stages.neighbors.vectors import id_set, source_kind
from ..stages.teachers.live import build_network
from ..stages.teachers.protocol import (
    Teacher,
    at_size,
    choices,
    encoder_of,
    load_teacher,
    network_of,
    without_size,
)
from ..train.runs.regions import RunRegions, regions_of_run
from ..train.runs.sounds import RunSounds
from ..weights import PRETRAINED, RANDOM, check_specs, require, resolve
from .id_lists import hold_out_notices, read_ids, read_ids_to_take
from .regions import embed_regions
from .run_encoder import PREFIX, is_run, leak_notices, open_run_encoder, run_encoder_name
from .status import count_clips
from .threads import network_threads, search_threads
from .watch import watch_stages

NONE = "none"
BACKBONE = "backbone"
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
    threads: str = AUTO
    batch_size: int = 32
    overwrite: bool = False
    visual_hint: str = BACKBONE
    """Which output of the visual teacher is the hint, `backbone` or `encoder`."""
    visual_size: int | None = None
    """Side in px of the frames that the visual teacher sees; None for its own."""
    objects: bool = False
    """Whether DETR's object maps are wanted too."""

    def names(self) -> list[str]:
        """Return the teachers to run.

        Raises:
            UsageError: One is no teacher of its modality or not of this size, or none is left.
        """
        found = []
        for modality, name in (("visual", self.visual), ("audio", self.audio)):
            if name == NONE:
                continue
            if is_run(name):
                prefix = RUN_ENCODER if modality == "audio" else RUN_REGIONS
                found.append(run_encoder_name(name, prefix))
                continue
            if without_size(name) not in choices(modality):
                known = ", ".join([*choices(modality), NONE])
                raise UsageError(f"{name!r} is no {modality} teacher: one of {known}")
            found.append(self._sized(self._hint_of(name)) if modality == "visual" else name)
        if self.visual == NONE and self.visual_size is not None:
            raise UsageError(f"--visual-size {self.visual_size}: there is no visual teacher")
        if not found and not self.objects:
            raise UsageError("nothing to do: both teachers are none")
        return found

    def _hint_of(self, name: str) -> str:
        if self.visual_hint == BACKBONE:
            return name
        if encoder_of(name) not in choices("visual"):
            raise UsageError(f"--visual-hint {self.visual_hint}: {name} has no such output")
        return encoder_of(name)

    def _sized(self, name: str) -> str:
        return name if self.visual_size is None else at_size(name, self.visual_size)

    @cached_property
    def run(self) -> tuple[Given, RunSounds] | None:
        """The run whose encoder hears, if it is one.

        Raises:
            InputError: There is no run, or it has no checkpoint.
            CacheCorruptError: It is damaged.
        """
        return open_run_encoder(self.audio) if is_run(self.audio) else None

    @property
    def given(self) -> Given:
        """Networks that no module defines: the encoder of a run."""
        return self.run[0] if self.run else {}

    @cached_property
    def regions(self) -> RunRegions | None:
        """The run whose regions are compared, if it is one.

        Raises:
            InputError: There is no run, it has no checkpoint, or it only hears.
            CacheCorruptError: It is damaged.
        """
        return (
            regions_of_run(Path(self.visual.removeprefix(PREFIX))) if is_run(self.visual) else None
        )

    def leak_notices(self, hold_out: Sequence[str]) -> list[str]:
        """Say when a run that is asked has learnt from clips that are held out."""
        runs = [*(self.run[1:] if self.run else ()), *((self.regions,) if self.regions else ())]
        return [line for run in runs for line in leak_notices(run, hold_out)]

    def object_networks(self) -> list[str]:
        """Return the networks whose object maps are wanted."""
        return choices(OBJECTS) if self.objects else []


@dataclass(frozen=True)
class NeighborSettings:
    """What `knn` is told about the search."""

    k: int = 1000
    ids: Path | None = None
    hold_out: Path | None = None


def embed_teachers(settings: TeacherSettings) -> dict[str, Any]:
    """Run the teachers over the cache; return the `avpipe.embed-teachers/1` document.

    Raises:
        Errors as `stages.embed.embed` does.
    """
    names, objects = settings.names(), settings.object_networks()
    if is_run(settings.audio):
        raise UsageError(f"--audio {settings.audio}: a run compares sounds, for knn and cluster")
    if is_run(settings.visual):
        raise UsageError(f"--visual {settings.visual}: a run compares frames, for knn")
    cache = Cache(settings.cache)  # before the network that tries threads is loaded
    _require_weights(settings, [*names, *objects])
    with network_threads(settings.threads, settings.device), watch_stages() as progress:
        done = embed(
            cache,
            HINTS,
            names,
            objects=objects,
            specs=settings.weights,
            device=settings.device,
            batch_size=settings.batch_size,
            overwrite=settings.overwrite,
            progress=progress,
        )
    return {**done.as_json(), "notices": todo_notices(settings.cache)}


def todo_notices(cache: Path) -> list[str]:
    """Say when clips are not extracted yet: what was made lacks them."""
    todo = count_clips(cache).todo
    silent = len(shard_numbers(cache, EXTRACT) - extracted_shards(cache))
    command = advice("extract", cache)
    told = {
        f"{todo} clips are not extracted yet: run {command}, then this command again": todo,
        f"the sounds of {silent} shards are missing: run {command}, then this again": silent,
    }
    return [line for line, count in told.items() if count]


def search_neighbors(settings: TeacherSettings, search: NeighborSettings) -> dict[str, Any]:
    """Embed the clips where that is not done yet, search neighbours; return `avpipe.knn/1`.

    A teacher that has hints in the cache already serves with those.

    Raises:
        Errors as `stages.embed.embed` and `stages.neighbors.neighbors` do.
    """
    started = time.monotonic()
    cache, names = Cache(settings.cache), settings.names()
    ids, hold_out = read_ids_to_take(search.ids), read_ids(search.hold_out) or []
    id_set(cache, ids, hold_out)  # a list of other clips is told before hours of work
    device = pick_device(settings.device)
    weights: dict[str, str] = {}
    notices = hold_out_notices(search.hold_out, hold_out, cache.ids)
    notices += [*todo_notices(settings.cache), *settings.leak_notices(hold_out)]
    found, embedded = [], 0
    _require_weights(settings, names)
    with (
        network_threads(settings.threads, device),
        search_threads(settings.threads),
        watch_stages() as progress,
    ):
        for name in names:
            made = embed_source(cache, name, settings, device, progress)
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
                    device=device,
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


def _require_weights(settings: TeacherSettings, names: Sequence[str]) -> None:
    """Fetch what the networks of a run lack before the first of them runs."""
    names = [name for name in names if not name.startswith((RUN_ENCODER, RUN_REGIONS))]
    check_specs(settings.weights, {network_of(name) for name in names})
    if extracted_shards(settings.cache):
        require({network_of(name): load_teacher(name).FILES for name in names}, settings.weights)


def embed_source(
    cache: Cache, name: str, settings: TeacherSettings, device: str, progress: Progress
) -> EmbedSummary:
    """Make what is missing of an encoder's vectors: of its hints, if it is a teacher already.

    `--overwrite` speaks of embeddings; hints may be what a student is learning from.

    Raises:
        Errors as `stages.embed.embed` does.
    """
    if name.startswith(RUN_REGIONS):
        assert settings.regions
        return embed_regions(
            cache,
            name,
            settings.regions,
            device=device,
            overwrite=settings.overwrite,
            progress=progress,
        )
    kind = source_kind(cache, name)
    return embed(
        cache,
        kind,
        [name],
        specs=[spec for spec in settings.weights if _is_for(spec, network_of(name))],
        device=device,
        batch_size=settings.batch_size,
        overwrite=settings.overwrite and kind != HINTS,
        given=settings.given,
        progress=progress,
    )


def _is_for(spec: str, network: str) -> bool:
    """Whether a `--weights` speaks of this network, or of all."""
    other, sign, _ = spec.partition("=")
    return not sign or other == network or "/" in other


def estimate(settings: TeacherSettings, kind: str) -> dict[str, Any]:
    """Say what embedding would do: clips, bytes, and seconds by a few clips of silence and black.

    Stages are counted by the shards they lack. Weights are not looked for.

    Args:
        settings: Which networks.
        kind: `hints` or `embeddings`.

    Raises:
        UsageError: There is no such teacher or device.
    """
    if is_run(settings.visual):
        raise UsageError("--dry-run cannot tell what the regions of a run take; leave it out")
    extracted = extracted_shards(settings.cache)
    device = pick_device(settings.device)
    rows = []
    jobs = [(kind, name) for name in settings.names()]
    jobs += [(OBJECTS, name) for name in settings.object_networks()]
    for kind, name in jobs:
        teacher = settings.given[name][0] if name in settings.given else load_teacher(name, kind)
        missing = extracted - shard_numbers(settings.cache, f"{kind}/{name}")
        clips = sum(
            read_header(shard_path(settings.cache, EXTRACT, shard)).done for shard in missing
        )
        rows.append(
            {
                "stage": f"{kind}/{name}",
                "clips": clips,
                "bytes_out": clips * bytes_per_clip(teacher),
                "seconds": round(clips * _seconds_per_clip(teacher, device), 1) if clips else 0.0,
            }
        )
    return {"schema": "avpipe.embed-estimate/1", "device": device, "stages": rows}


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
