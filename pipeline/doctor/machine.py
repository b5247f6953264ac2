"""Cores and memory that this process may really use; a container may grant less than there is."""

from __future__ import annotations

from pathlib import Path

from ...machine import (
    CGROUPS,
    OWN_CGROUP,
    core_quota,
    group_folders,
    installed_cores,
    usable_cores,
    words_of,
)
from ..output import size_text
from .finding import Check, ok, warning

WORKER_BYTES = 250_000_000
"""Of a worker (60 MB) and its decoder child (65 MB with 360p, 90 with full HD, 170 with 4K)."""
_MEMORY = Path("/proc/meminfo")


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
    free, limit = free_bytes(), memory_limit()
    told = f"{size_text(free)} free" if free is not None else "not known"
    if limit is not None:
        told += f", {size_text(limit)} granted to this container"
    room = min((one for one in (free, limit) if one is not None), default=None)
    if room is not None and room < jobs * WORKER_BYTES:
        needed = f"{jobs} workers of extract may need {size_text(jobs * WORKER_BYTES)}"
        fitting = max(1, room // WORKER_BYTES)
        return [warning("memory", f"{told}; {needed}", f"export AVPIPE_JOBS={fitting}")]
    return [ok("memory", told)]


def free_bytes(meminfo: Path = _MEMORY) -> int | None:
    """Return the memory that programs may still take; None where the system does not say."""
    if not meminfo.exists():
        return None
    sizes = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(sizes["MemAvailable"].split()[0]) * 1024


def memory_limit(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> int | None:
    """Return how many bytes the control groups grant; None: all there are."""
    limits = []
    for folder in group_folders("memory", root, own):
        for words in (words_of(folder / "memory.max"), words_of(folder / "memory.limit_in_bytes")):
            if words and words[0].isdigit() and int(words[0]) < 1 << 60:  # version 1's "none"
                limits.append(int(words[0]))
    return min(limits, default=None)
