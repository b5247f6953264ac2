"""What so many clips cost in each stage, from `measured.toml`: bytes, hours of cores and GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

from ...reading import parse_toml

SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000)
"""Clips of the columns of docs/scale.md."""
COSTS = Path(__file__).with_name("measured.toml")
SMALL, PAPERS = "small", "papers"
"""Small networks and heads on their features, as README goes; DETR, PANNs and neighbours."""
_MOST_ROWS = 2**31 - 1
_TOO_LONG_H = 30 * 24.0
"""A month: what takes longer counts as stopped."""


@dataclass(frozen=True)
class Bytes:
    """What is stored of a clip."""

    stage: str
    title: str
    each: int
    road: str = ""


@dataclass(frozen=True)
class Cost:
    """A time, or a memory, that was measured.

    Attributes:
        stage: Command or part.
        title: What was measured.
        clips: With how many clips.
        power: It grows with this power of their number.
        divides: Over cores and machines.
        where: Bench and machine.
        seconds: The time; 0 where memory was measured.
        cores: On so many.
        mib: The memory.
        on_gpu: A GPU can do it.
        road: Who needs it, of those who go `PAPERS`' road or `SMALL`'s; "" for both.
    """

    stage: str
    title: str
    clips: int
    power: int
    divides: bool
    where: str
    seconds: float = 0.0
    cores: int = 1
    mib: float = 0.0
    on_gpu: bool = False
    road: str = ""

    def at(self, num_clips: float) -> float:
        """Extrapolate: seconds (or MiB) for so many clips, on the cores that measured it."""
        return (self.seconds or self.mib) * (num_clips / self.clips) ** self.power

    def core_hours(self, num_clips: float) -> float:
        """Return hours of one core."""
        return self.at(num_clips) * self.cores / 3600 if self.seconds else 0.0


@cache
def costs() -> tuple[tuple[Bytes, ...], tuple[Cost, ...]]:
    """Read what is known."""
    read = parse_toml(COSTS.read_text(encoding="utf-8"))
    return tuple(Bytes(**one) for one in read["bytes"]), tuple(Cost(**one) for one in read["time"])


@dataclass(frozen=True)
class Means:
    """What somebody has.

    Attributes:
        cores: Of one machine, or of all of a cluster.
        gpus: The same.
        is_cluster: Several machines on one disk: what this machine has limits nothing.
        extract_ms: Milliseconds of a core to extract a clip; None where nobody measured it.
        gpu_factor: How many cores' work a GPU is assumed to do; None without an assumption.
        disk_bytes: Free on the disk; None where it is not known.
        memory_bytes: Free of this machine; likewise.
    """

    cores: int
    gpus: int = 0
    is_cluster: bool = False
    extract_ms: float | None = None
    gpu_factor: float | None = None
    disk_bytes: int | None = None
    memory_bytes: int | None = None


class StageHours(TypedDict):
    """What a stage takes."""

    stage: str
    what: str
    core_hours: float
    gpu_hours: float
    hours: float
    growth: float
    where: str


def plan(num_clips: int, means: Means, road: str = PAPERS) -> dict[str, object]:
    """Compute the `avpipe.plan/1` document.

    Args:
        num_clips: How many.
        means: What is there.
        road: `PAPERS` or `SMALL`: what of all that was measured is needed.
    """
    rows = list(_rows(num_clips, means, road))
    total = sum(one.each for one in costs()[0] if one.road in ("", road)) * num_clips
    return {
        "schema": "avpipe.plan/1",
        "clips": num_clips,
        "cores": means.cores,
        "gpus": means.gpus,
        "cluster": means.is_cluster,
        "road": road,
        "bytes": total,
        "stages": rows,
        "stops_first": _stops_first(num_clips, means, total, rows),
        "assumptions": _assumptions(means),
        "missing": _missing(means, road),
    }


def _rows(num_clips: int, means: Means, road: str) -> Iterator[StageHours]:
    times = [cost for cost in costs()[1] if cost.road in ("", road)]
    if means.extract_ms is not None:
        given = "given by --extract-ms"
        cost = Cost("extract", "extract", 1, 1, True, given, seconds=means.extract_ms / 1000)
        times = [cost, *times]
    for cost in times:
        if cost.seconds:
            hours = cost.core_hours(num_clips)
            by_gpu = cost.on_gpu and means.gpus > 0 and means.gpu_factor is not None
            factor = means.gpu_factor if by_gpu and means.gpu_factor else 1.0
            hands = (means.gpus if by_gpu else means.cores) if cost.divides else cost.cores
            yield {
                "stage": cost.stage,
                "what": cost.title,
                "core_hours": 0.0 if by_gpu else hours,
                "gpu_hours": hours / factor if by_gpu else 0.0,
                "hours": hours / factor / hands,
                "growth": float(cost.power),
                "where": cost.where,
            }


def _stops_first(num_clips: int, means: Means, total: int, rows: list[StageHours]) -> str:
    """Say what cannot be done, or what takes longest."""
    if num_clips > _MOST_ROWS:
        return f"the cache: no more than {_MOST_ROWS:,} rows; take several"
    if means.disk_bytes is not None and total > means.disk_bytes:
        return f"the disk: {_gb(total)} are to be stored, {_gb(means.disk_bytes)} are free"
    memory = next(cost for cost in costs()[1] if cost.mib).at(num_clips) * 2**20
    if means.memory_bytes is not None and memory > means.memory_bytes:
        free = _gb(means.memory_bytes)
        return f"the manifest: planning takes {_gb(memory)} of memory, {free} are free"
    longest = max(rows, key=lambda row: row["hours"])
    what = f"{longest['stage']} ({longest['what']}): {time_of(longest['hours'] * 3600)}"
    return (
        what if longest["hours"] > _TOO_LONG_H else f"nothing within a month; the longest is {what}"
    )


def _assumptions(means: Means) -> list[str]:
    if means.gpus and means.gpu_factor is not None:
        return [f"a GPU does the work of {means.gpu_factor:g} cores (--gpu-factor, not measured)"]
    return []


def _missing(means: Means, road: str) -> list[str]:
    lines = ["frames: their JPEGs depend on the pictures (`avpipe extract --dry-run` says)"]
    if means.extract_ms is None:
        lines.append("extract: depends on the videos; `avpipe extract --dry-run` times a few of "
                     "yours: give its milliseconds a clip and core as --extract-ms")  # fmt: skip
    if means.gpus and means.gpu_factor is None:
        lines.append("GPUs: nothing was measured on one, so these are hours of cores; --gpu-factor "
                     "N assumes that one does the work of N cores")  # fmt: skip
    if road == PAPERS:
        lines.append("`panns-wavegram`, `cluster`: never measured per clip")
    return lines


def byte_table() -> str:
    """Return the table of bytes of docs/scale.md."""
    head = ["per clip", "bytes"]
    rows = [[one.title, f"{one.each:,}", *(_gb(one.each * n) for n in SIZES)]
            for one in costs()[0]]  # fmt: skip
    return _markdown([*head, *map(_size_name, SIZES)], rows)


def time_table() -> str:
    """Return the table of times of docs/scale.md."""
    rows = []
    for cost in costs()[1]:
        show = time_of if cost.seconds else _mib
        if cost.clips == 1:
            measured = f"{cost.seconds * 1000:g} ms a clip"
        else:
            figure = f"{cost.seconds:g} s" if cost.seconds else f"{cost.mib:g} MiB"
            measured = f"{figure} at {cost.clips:,}"
        law = {1: "with N", 2: "with N²"}[cost.power]
        rows.append([cost.title, measured, law, *(show(cost.at(n)) for n in SIZES)])
    return _markdown(["part", "measured", "grows", *map(_size_name, SIZES)], rows)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, *rows]
    rule = f"|{'---|' * len(head)}"
    body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([body[0], rule, *body[1:]])


def _size_name(num_clips: int) -> str:
    return f"{num_clips // 1000} k" if num_clips < 1_000_000 else f"{num_clips // 1_000_000} M"


def _number(value: float) -> str:
    """Write two digits, as far as they go."""
    return f"{value:.2f}" if value < 0.095 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def time_of(seconds: float) -> str:
    """Write a time in its largest unit."""
    units = {"years": 365.25 * 86400, "days": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
    unit = next((name for name, size in units.items() if seconds >= size), "s")
    return f"{_number(seconds / units[unit])} {unit}"


def _gb(num_bytes: float) -> str:
    size, unit = (num_bytes / 1e12, "TB") if num_bytes >= 0.9995e12 else (num_bytes / 1e9, "GB")
    return f"{_number(size)} {unit}"


def _mib(mib: float) -> str:
    return f"{_number(mib)} MiB" if mib < 1024 else f"{_number(mib / 1024)} GiB"
