"""`embed` in workers: a shard of a teacher is a task; its network stays for the next one."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...cache.store import Cache
from ...errors import MissingDependencyError
from ...weights import Weights, resolve
from ..teachers import FLOAT32, Precision
from ..teachers.live import build_network, check_precision
from ..teachers.protocol import Network, load_teacher, network_of
from ..workers.gpus import own_device
from .run import run_plan
from .todo import EmbedPlan

_one_at_a_time = threading.Lock()
"""Two threads of a worker would need a network each."""


@dataclass(frozen=True)
class EmbedTask:
    """One shard of one teacher.

    Attributes:
        cache: Cache folder, absolute.
        stage: For example `hints/detr-r50`.
        shard: Its number.
        num_clips: Its clips.
        specs: Values of `--weights`.
        digest: Of the weights that the process has which planned it.
        device: As `--device` has it.
        batch_size: Clips at a time.
        threads: CPU threads; None: as the worker was started with.
        precision: What networks compute in on a CPU.
    """

    cache: Path
    stage: str
    shard: int
    num_clips: int
    specs: tuple[str, ...]
    digest: str
    device: str
    batch_size: int
    threads: int | None = None
    precision: Precision = FLOAT32


def embed_shard(task: EmbedTask) -> int:
    """Make one shard; return its number.

    Raises:
        MissingDependencyError: Weights are missing here, or are others.
        Errors as `run.embed`.
    """
    kind, _, name = task.stage.partition("/")
    with _one_at_a_time:
        device = own_device(task.device)
        weights = _weights(kind, name, task.specs)
        if weights.digest != task.digest:
            raise MissingDependencyError(
                f"host {socket.gethostname()} has other weights of {name} than the process that "
                "planned it: copy its file there, or name it with --weights"
            )
        if task.threads:
            import torch

            torch.set_num_threads(task.threads)
        check_precision(task.precision, device)
        network = _network(kind, name, weights, device, task.precision)
        todo = {task.shard: task.num_clips}
        plan = EmbedPlan(task.stage, load_teacher(name, kind), weights, todo, 0, task.precision)
        run_plan(Cache(task.cache), plan, device, task.batch_size, lambda _: None, network=network)
    return task.shard


@lru_cache(8)
def _weights(kind: str, name: str, specs: tuple[str, ...]) -> Weights:
    return resolve(network_of(name), load_teacher(name, kind).FILES, specs)


@lru_cache(1)
def _network(kind: str, name: str, weights: Weights, device: str, precision: Precision) -> Network:
    return build_network(load_teacher(name, kind), weights, device, precision)
