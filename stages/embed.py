"""`embed`: a pretrained network looks at, or listens to, every clip once, shard by shard.

It fills `hints/<teacher>` (what a student imitates) and `embeddings/<encoder>` (what neighbours are
searched by); any teacher can do either.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache.schema import AUDIO, EXTRACT, Header, shard_path
from ..cache.shard import Shard
from ..cache.store import Cache
from ..cache.writer import Rows, remove_orphans, write_shard
from ..errors import MissingDependencyError, UsageError
from ..weights import PRETRAINED
from .embed_plan import EmbedPlan, plan_embed
from .teachers.protocol import Network, Teacher

HINTS = "hints"
EMBEDDINGS = "embeddings"
BATCH_SIZE = 32

Progress = Callable[[str, int, int], None]
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
    specs: Sequence[str] = (PRETRAINED,),
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EmbedSummary:
    """Run teachers over every extracted shard that they have not done yet.

    Args:
        cache: The cache.
        kind: `hints` or `embeddings`.
        names: Teachers.
        specs: Values of `--weights`, see `weights.resolve`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        batch_size: Clips at a time; a batch never reaches over the end of a shard.
        overwrite: Make shards again that were made with other parameters or weights.
        progress: Told after every batch.

    Raises:
        InputError: Nothing is extracted, or the sound was dropped.
        CacheCorruptError: Shards were made with other parameters or weights.
        CacheUnwritableError: The cache cannot be written.
        MissingDependencyError: Weights are missing or are those of another network.
        UsageError: No such teacher or device.
    """
    started = time.monotonic()
    device = pick_device(device)
    plans = plan_embed(cache.path, kind, names, specs=specs, overwrite=overwrite)
    for plan in plans:
        remove_orphans(cache.path / plan.stage)
        if not plan.todo:
            continue
        network = plan.teacher.build(plan.weights, device)
        done = 0

        def count(clips: int, plan: EmbedPlan = plan) -> None:
            nonlocal done
            done += clips
            if progress:
                progress(plan.stage, done, plan.num_clips)

        count(0)
        for shard in plan.todo:
            embed_shard(cache, plan, shard, network, batch_size, device, count)
    return EmbedSummary(
        done=sum(plan.num_clips for plan in plans),
        skipped=sum(plan.skipped for plan in plans),
        seconds=time.monotonic() - started,
        weights={plan.stage: plan.weights.digest for plan in plans},
    )


def pick_device(device: str) -> str:
    """Return `device`, `auto` being a GPU where there is one.

    Raises:
        UsageError: If this machine or this PyTorch does not have it.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise UsageError(f"--device {device} cannot be used here: {why}") from error
    return device


def embed_shard(
    cache: Cache,
    plan: EmbedPlan,
    shard: int,
    network: Network,
    batch_size: int,
    device: str,
    count: Callable[[int], None],
) -> Header:
    """Run a network over one shard and publish its columns.

    Args:
        cache: The cache.
        plan: Whose stage and teacher.
        shard: Shard number.
        network: The teacher, built.
        batch_size: Clips at a time.
        device: Where it runs, noted in the header.
        count: Told the clips of every batch.

    Raises:
        MissingDependencyError: If the columns are not those the teacher promises: its weights are
            those of a network of another size.
    """
    teacher, extract = plan.teacher, cache.shard(EXTRACT, shard)
    inputs = {EXTRACT: extract.header.sha256}
    if teacher.READS == "waveform":
        inputs[AUDIO] = cache.shard(AUDIO, shard).header.sha256
    batches: dict[str, list[NDArray[Any]]] = {name: [] for name in teacher.COLUMNS}
    prepared = (teacher.prepare(*item) for item in _items(cache, shard, teacher))
    rows = extract.rows
    for start in range(0, len(rows), batch_size):
        size = min(batch_size, len(rows) - start)
        given = np.stack([next(prepared) for _ in range(size)])
        for name, values in network(given).items():
            dtype, item = teacher.COLUMNS[name]
            if values.shape[1:] != item:
                raise MissingDependencyError(
                    f"{plan.stage} wants {name} of {item}, these weights give {values.shape[1:]}: "
                    "they are those of a network of another size"
                )
            batches[name].append(np.ascontiguousarray(values, dtype))
        count(size)
    columns = {"row": Rows.array(rows)}
    for name, (dtype, item) in teacher.COLUMNS.items():
        columns[name] = Rows(np.dtype(dtype).str, (len(rows), *item), tuple(batches[name]))
    header = Header(
        stage=plan.stage,
        stage_version=teacher.VERSION,
        shard=shard,
        params=dict(teacher.PARAMS),
        inputs=inputs,
        n=len(rows),
        done=len(rows),
        weights=plan.weights.digest,
        # what moves a value by a rounding error, and is no parameter
        versions={
            **{name: version(name) for name in ("numpy", "torch", "torchvision", "transformers")},
            "batch_size": str(batch_size),
            "device": device.partition(":")[0],
        },
    )
    return write_shard(shard_path(cache.path, plan.stage, shard), header, columns)


def _items(cache: Cache, shard: int, teacher: Teacher) -> Iterator[tuple[Any, ...]]:
    """Yield what the teacher's `prepare` takes, clip by clip."""
    if teacher.READS == "frame":
        for jpeg in _ragged(cache.shard(EXTRACT, shard), "frame_jpeg", "frame_offset"):
            yield (decode_jpeg(jpeg),)
    else:
        audio = cache.shard(AUDIO, shard)
        frame_samples = audio.column("frame_sample").tolist()
        yield from zip(_ragged(audio, "waveform", "waveform_offset"), frame_samples, strict=True)


def _ragged(shard: Shard, name: str, offset_name: str) -> Iterator[NDArray[Any]]:
    offsets = shard.column(offset_name).tolist()
    for start, stop in pairwise(offsets):
        yield shard.span(name, start, stop)


def decode_jpeg(jpeg: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the `(H, W, 3)` uint8 RGB frame of a JPEG's bytes."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB"))
