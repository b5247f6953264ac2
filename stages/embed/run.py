"""`embed`: a pretrained network looks at, or listens to, every clip once, shard by shard.

It fills `hints/<teacher>` (what a student imitates) and `embeddings/<encoder>` (what neighbours are
searched by); any teacher can do either. `objects/<network>` says where things are seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import Header, shard_path
from ...cache.state import WHOLE, Part
from ...cache.store import Cache
from ...cache.writer import Rows, remove_orphans, write_shard
from ...devices import usable_device
from ...errors import MissingDependencyError
from ...machine import AUTO
from ...weights import PRETRAINED, Weights
from ..teachers import FLOAT32, Precision
from ..teachers.live import build_network, check_precision
from ..teachers.protocol import Network
from . import BATCH_SIZE
from .read import NetworkBatch, read_batches
from .todo import EmbedPlan, Given, plan_embed

Columns = dict[str, NDArray[Any]]
"""Name to the values of some clips, `(clips, ...)`."""

PACKAGES = ("numpy", "torch", "torchvision", "transformers")
"""Libraries that a header names."""

RunPlan = Callable[[Cache, EmbedPlan, str, int, Callable[[int], None]], None]
"""Does a plan: called with the cache, the plan, a device, a batch size and what counts clips."""

EmbedProgress = Callable[[str, int, int], None]
"""Called with (stage, clips done by this run, clips this run has to do), first with 0 done."""


@dataclass(frozen=True)
class EmbedSummary:
    """What one run did; counts are clips, once for each teacher.

    Attributes:
        done: Done by this run.
        skipped: Done before.
        seconds: Wall-clock time.
        weights: Digest of the weights by stage; `random:...` stands out here.
    """

    done: int
    skipped: int
    seconds: float
    weights: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the `--json` form."""
        return {
            "schema": "avpipe.embed-teachers/1",
            "done": self.done,
            "skipped": self.skipped,
            "failed": 0,
            "failed_total": 0,
            "weights": self.weights,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.done / self.seconds, 3) if self.done else 0.0,
        }


def embed(
    cache: Cache,
    kind: str,
    names: Sequence[str],
    *,
    objects: Sequence[str] = (),
    specs: Sequence[str] = (PRETRAINED,),
    device: str = AUTO,
    batch_size: int = BATCH_SIZE,
    overwrite: bool = False,
    given: Given = MappingProxyType({}),
    precision: Precision = FLOAT32,
    shards: Collection[int] | None = None,
    part: Part = WHOLE,
    elsewhere: RunPlan | None = None,
    progress: EmbedProgress | None = None,
) -> EmbedSummary:
    """Run teachers over every extracted shard that they have not done yet.

    Args:
        cache: The cache.
        kind: `hints` or `embeddings`.
        names: Teachers.
        objects: Networks whose object maps are wanted too.
        specs: Values of `--weights`, see `weights.resolve`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        batch_size: Clips at a time; a batch never reaches over the end of a shard.
        overwrite: Make shards again that were made with other parameters or weights.
        given: Networks of `names` that are no teachers.
        precision: On a CPU, what networks compute in: `fp32`, or `bf16` on one that can.
        shards: Do no others; None: all that are extracted.
        part: Which of them to do; all counts are of these.
        elsewhere: Does the plans of teachers, with `device` as it is; None: this process does.
        progress: Told after every batch.

    Raises:
        InputError: Nothing is extracted, or the sound was dropped.
        CacheCorruptError: Shards were made with other parameters or weights.
        CacheUnwritableError: The cache cannot be written.
        MissingDependencyError: Weights are missing, are those of another network, or give values
            that are not finite.
        UsageError: No such teacher or device, or this device does not compute in `bf16`.
    """
    started = time.monotonic()
    if elsewhere is None or given:
        device = usable_device(device)
        check_precision(precision, device)
    plans = plan_embed(
        cache.path, kind, names, objects=objects, specs=specs, overwrite=overwrite, given=given,
        precision=precision, shards=shards, part=part,
    )  # fmt: skip
    for plan in plans:
        remove_orphans(cache.path / plan.stage)
        if not plan.todo:
            continue
        done = plan.skipped

        def count(clips: int, plan: EmbedPlan = plan) -> None:
            nonlocal done
            done += clips
            if progress:
                progress(plan.stage, done, plan.skipped + plan.num_clips)

        count(0)
        is_given = plan.stage.rpartition("/")[2] in given
        run = elsewhere if elsewhere and not is_given else run_plan
        run(cache, plan, device, batch_size, count)
    return EmbedSummary(
        done=sum(plan.num_clips for plan in plans),
        skipped=sum(plan.skipped for plan in plans),
        seconds=time.monotonic() - started,
        weights={plan.stage: plan.weights.digest for plan in plans},
    )


def run_plan(
    cache: Cache,
    plan: EmbedPlan,
    device: str,
    batch_size: int,
    count: Callable[[int], None],
    *,
    network: Network | None = None,
) -> None:
    """Do a plan: the next batches are read, and the last shard is written, while one is computed.

    Raises:
        MissingDependencyError: If the weights are not this network's.
    """
    network = network or build_network(plan.teacher, plan.weights, device, plan.precision)
    versions = {
        **{name: version(name) for name in PACKAGES},
        "batch_size": str(batch_size),
        "device": device.partition(":")[0],
    }  # what moves a value by a rounding error, and is no parameter
    batches = read_batches(cache, plan.teacher, plan.todo, batch_size)
    with ThreadPoolExecutor(1) as writer, closing(batches):
        parts: list[Columns] = []
        writing: Future[Header] | None = None
        for batch in batches:
            if batch.given is not None:
                parts.append(_columns(plan, network(batch.given)))
                count(len(batch.given))
            if not batch.last:
                continue
            if writing:
                writing.result()
            writing = writer.submit(_publish, cache, plan, batch, parts, versions)
            parts = []
        if writing:
            writing.result()


def _columns(plan: EmbedPlan, given: Columns) -> Columns:
    """Return a network's columns in the types in which they are stored.

    Raises:
        MissingDependencyError: If they are not those the teacher promises: its weights are those
            of a network of another size; or if a value is not finite.
    """
    for name, (_, item) in plan.teacher.COLUMNS.items():
        if given[name].shape[1:] != item:
            raise MissingDependencyError(
                f"{plan.stage} wants {name} of {item}, these weights give {given[name].shape[1:]}: "
                "they are those of a network of another size"
            )
    columns = {
        name: np.ascontiguousarray(given[name], dtype)
        for name, (dtype, _) in plan.teacher.COLUMNS.items()
    }
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise MissingDependencyError(
                f"{plan.stage}: its weights ({_origin(plan.weights)}) give a {name} that is not "
                "finite; nothing of this shard was written; give other --weights"
            )
    return columns


def _origin(weights: Weights) -> str:
    return ", ".join(map(str, weights.paths)) or weights.digest


def _publish(
    cache: Cache,
    plan: EmbedPlan,
    batch: NetworkBatch,
    parts: list[Columns],
    versions: dict[str, str],
) -> Header:
    """Write the shard that a batch belongs to, of the columns of all its batches."""
    num_rows = len(batch.rows)
    columns = {"row": Rows.array(batch.rows)}
    for name, (dtype, item) in plan.teacher.COLUMNS.items():
        values = tuple(part[name] for part in parts)
        columns[name] = Rows(np.dtype(dtype).str, (num_rows, *item), values)
    header = Header(
        stage=plan.stage,
        stage_version=plan.teacher.VERSION,
        shard=batch.shard,
        params=dict(plan.params),
        inputs=batch.inputs,
        n=num_rows,
        done=num_rows,
        weights=plan.weights.digest,
        versions=versions,
    )
    return write_shard(shard_path(cache.path, plan.stage, batch.shard), header, columns)
