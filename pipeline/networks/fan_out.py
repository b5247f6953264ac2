"""Networks and searches over several workers: on the GPUs of a machine, or in a cluster."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...cache.defaults import WHOLE, Part
from ...cache.store import Cache
from ...devices import chosen_device, usable_device
from ...machine import parse_threads
from ...stages.embed.run import PACKAGES, EmbedProgress
from ...stages.embed.shard import EmbedTask, embed_shard
from ...stages.embed.todo import EmbedPlan
from ...stages.neighbors.run import NeighborSummary, neighbors
from ...stages.neighbors.searched import Approximate, vectors_for
from ...stages.neighbors.vectors import id_set, vector_source
from ...stages.workers import Workers
from ...stages.workers.fitness import Fitness, Software
from ...stages.workers.gpus import NetworkSoftware, num_gpus, own_device
from ...stages.workers.runners import is_on_other_hosts, runs_here
from ...weights import absolute_specs
from ..extract.rounds import run_rounds

_PARTS = 64
"""A search is cut into so many tasks: each reads all vectors."""


@dataclass(frozen=True)
class FanOut:
    """Who runs networks and searches, and where.

    Attributes:
        workers: Who.
        device: As `--device` has it; each of several workers finds its own GPU.
        threads: As `--threads` has it.
    """

    workers: Workers
    device: str
    threads: str

    @classmethod
    def chosen(cls, workers: Workers, device: str, threads: str) -> FanOut | None:
        """Return who works, None where this process does so itself; on GPUs one worker for each.

        Raises:
            UsageError: The backend needs another option, or there is no such device here.
        """
        if runs_here(workers):
            return None
        if not is_on_other_hosts(workers):
            usable_device(device)
            if chosen_device(device) == "cuda":
                workers = replace(workers, jobs=min(workers.jobs, num_gpus()))
        return None if runs_here(workers) else cls(workers, device, threads)

    def _fitness(self, cache: Path, software: Software, stage: str) -> Fitness:
        gpus = int(chosen_device(self.device).startswith("cuda"))
        return Fitness.of_this_process(software, cache, stages=(stage,), gpus=gpus)

    def embed(
        self,
        specs: Sequence[str],
        cache: Cache,
        plan: EmbedPlan,
        device: str,
        batch_size: int,
        count: Callable[[int], None],
    ) -> None:
        """Do a plan of `stages.embed`, a shard a task.

        Raises:
            Errors as `stages.embed.run.embed`; what hosts lack is told before any task runs.
        """
        kind, _, name = plan.stage.partition("/")
        software = NetworkSoftware(PACKAGES, device=self.device, teachers=((name, kind),))
        left = dict(plan.todo)

        def task(shard: int) -> EmbedTask:
            return EmbedTask(
                cache.path.absolute(), plan.stage, shard, plan.todo[shard],
                absolute_specs(specs), plan.weights.digest, self.device, batch_size,
                parse_threads(self.threads), plan.precision,
            )  # fmt: skip

        run_rounds(
            lambda: list(left),
            task,
            embed_shard,
            lambda shard: count(left.pop(shard)),
            workers=self.workers,
            fitness=self._fitness(cache.path, software, plan.stage),
        )

    def neighbors(
        self,
        cache: Cache,
        encoder: str,
        k: int,
        *,
        ids: Collection[str] | None,
        hold_out: Collection[str],
        overwrite: bool,
        part: Part = WHOLE,
        approximate: Approximate | None = None,
        progress: EmbedProgress,
    ) -> NeighborSummary:
        """Search as `stages.neighbors.run.neighbors` does, a part of the clips a task.

        Raises:
            Errors as there; what hosts lack is told before any task runs.
        """
        started = time.monotonic()
        chosen = id_set(cache, ids, hold_out)
        source = vector_source(cache, encoder, chosen, part)  # lacks are told at once
        if approximate and len(chosen.rows) > 1:  # one index for all workers
            vectors_for(cache, chosen, source, min(k, len(chosen.rows) - 1), approximate, part)
        num_parts = _PARTS if is_on_other_hosts(self.workers) else 4 * self.workers.jobs
        num_parts = min(num_parts, max(1, cache.manifest.num_shards))
        left = {
            number: (part[0] + part[1] * number, part[1] * num_parts) for number in range(num_parts)
        }
        work = partial(
            _search, cache=cache.path.absolute(), encoder=encoder, k=k,
            ids=None if ids is None else tuple(ids), hold_out=tuple(hold_out), device=self.device,
            overwrite=overwrite, approximate=approximate,
        )  # fmt: skip
        found: list[NeighborSummary] = []
        counts: Counter[str] = Counter()

        def take(result: tuple[Part, NeighborSummary]) -> None:
            one, summary = result
            del left[(one[0] - part[0]) // part[1]]
            found.append(summary)
            counts.update(done=summary.done, skipped=summary.skipped)
            progress(f"{summary.stage}, parts", len(found), num_parts)

        library = "torch" if chosen_device(self.device).startswith("cuda") else "faiss-cpu"
        software = NetworkSoftware((library, "numpy"), device=self.device)
        run_rounds(
            lambda: list(left),
            left.__getitem__,
            work,
            take,
            workers=self.workers,
            fitness=self._fitness(cache.path, software, "neighbors"),
            noun="part of the search",
        )
        seconds = time.monotonic() - started
        return replace(found[0], done=counts["done"], skipped=counts["skipped"], seconds=seconds)


def _search(
    part: Part,
    *,
    cache: Path,
    encoder: str,
    k: int,
    ids: tuple[str, ...] | None,
    hold_out: tuple[str, ...],
    device: str,
    overwrite: bool,
    approximate: Approximate | None,
) -> tuple[Part, NeighborSummary]:
    """Search a part, in a worker."""
    summary = neighbors(
        Cache(cache), encoder, k, ids=ids, hold_out=hold_out, device=own_device(device),
        overwrite=overwrite, part=part, approximate=approximate,
    )  # fmt: skip
    return part, summary
