"""Cores and memory that this process may really use; a container may grant less than there is."""

from __future__ import annotations

from ...machine import (
    core_quota,
    installed_cores,
    known_free_bytes,
    memory_limit,
    usable_cores,
)
from ..output import size_text
from .finding import Check, ok, warning

WORKER_BYTES = 250_000_000
"""Of a worker (60 MB) and its decoder child (65 MB with 360p, 90 with full HD, 170 with 4K)."""


def check_cores() -> list[Check]:
    """Compare the cores there are with those a batch system or container grants."""
    cores, quota = usable_cores(), core_quota()
    told = f"{cores} of {installed_cores()} usable"
    if quota is not None and quota < cores:
        jobs = max(1, int(quota))
        found = f"{told}, but this container grants the time of {quota:g}"
        return [warning("cores", found, f"export AVPIPE_JOBS={jobs} OMP_NUM_THREADS={jobs}")]
    return [ok("cores", told)]


def check_memory(jobs: int) -> list[Check]:
    """Compare the memory that is free with what workers take."""
    free, limit = known_free_bytes(), memory_limit()
    told = f"{size_text(free)} free" if free is not None else "not known"
    if limit is not None:
        told += f", {size_text(limit)} granted to this container"
    if free is not None and free < jobs * WORKER_BYTES:
        needed = f"{jobs} workers of extract may need {size_text(jobs * WORKER_BYTES)}"
        fitting = max(1, free // WORKER_BYTES)
        return [warning("memory", f"{told}; {needed}", f"export AVPIPE_JOBS={fitting}")]
    return [ok("memory", told)]
