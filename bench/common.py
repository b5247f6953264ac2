"""What the benches share: options, commands, one core, interleaved timing, tables, memory."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from avpipe.machine import installed_cores
from numpy.typing import ArrayLike, NDArray

Item = TypeVar("Item")


def parser(about: str | None) -> argparse.ArgumentParser:
    """A parser with the option of every bench, `--json`."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--json", action="store_true", help="print the figures as JSON")
    return made


def settings(text: str) -> tuple[str, ...]:
    """Return `key=value` settings one by one."""
    return tuple(text.split())


def changed(before: Sequence[str], *others: str) -> tuple[str, ...]:
    """Return settings with some replaced."""
    keys = {other.partition("=")[0] for other in others}
    return (*(one for one in before if one.partition("=")[0] not in keys), *others)


def repeated(option: str, values: Sequence[object]) -> tuple[object, ...]:
    """Return words that give an option once for each value."""
    return tuple(word for value in values for word in (option, value))


def avpipe(*words: object, folder: Path | None = None) -> str:
    """Run a command, in a folder if one is given; what it says on stdout."""
    command = [sys.executable, "-m", "avpipe", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder)
    return done.stdout


def add_clock(made: argparse.ArgumentParser) -> None:
    """Add `--cpu-time`, for benches whose work all runs in the process that is timed."""
    made.add_argument(
        "--cpu-time", action="store_true",
        help="count CPU seconds, not wall time: for a machine that others use too",
    )  # fmt: skip


def clock(*, cpu_time: bool) -> Callable[[], float]:
    """The clock that `--cpu-time` chooses."""
    return time.process_time if cpu_time else time.perf_counter


def pin_to_one_core() -> int:
    """Keep this process and its children on one core, the last one it may use."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def interleave(
    methods: Mapping[str, Callable[[Item], object]],
    items: Sequence[Item],
    rounds: int,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, NDArray[np.float64]]:
    """Time every method on every item, turn by turn, so that all meet the same disturbances.

    Methods start in another order at each item. A first round warms up and is not counted.

    Returns:
        Seconds by method, each (rounds, items).
    """
    seconds = {name: np.zeros((rounds + 1, len(items))) for name in methods}
    names = list(methods)
    for turn in range(rounds + 1):
        for column, item in enumerate(items):
            first = (turn + column) % len(names)
            for name in names[first:] + names[:first]:
                begin = now()
                methods[name](item)
                seconds[name][turn, column] = now() - begin
    return {name: values[1:] for name, values in seconds.items()}


def typical(seconds: NDArray[np.float64]) -> float:
    """The mean over items of each item's median over rounds."""
    return float(np.median(seconds, axis=0).mean())


@dataclass(frozen=True)
class Ratio:
    """How many times one way takes another's time: the median over rounds, and the extremes."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as `1.45 (1.43 to 1.49)`."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(seconds: ArrayLike, others: ArrayLike) -> Ratio:
    """Compare two rows of rounds that were timed in turn, round by round.

    Args:
        seconds: `(rounds,)` or `(rounds, items)`, of which a round's mean over items counts.
        others: The same of what it is divided by.
    """
    rounds, base = (np.asarray(one, float).reshape(len(one), -1).mean(1) for one in  # type: ignore[arg-type]
                    (seconds, others))  # fmt: skip
    found = rounds / base
    return Ratio(float(np.median(found)), float(found.min()), float(found.max()))


class Stopwatch:
    """Seconds by part; while a part runs inside another, the outer one's time stands still."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """Start with nothing measured, by the clock `now`."""
        self._now = now
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what runs inside as `name`."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def watch(self, owner: Any, function: str, name: str) -> None:
        """Count every call of `owner.function` as `name`."""
        inner = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return inner(*args, **kwargs)

        setattr(owner, function, timed)

    def _charge(self) -> None:
        now = self._now()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


def anonymous_bytes(pids: Sequence[int]) -> int:
    """Anonymous memory of some processes together: what they hold beside mapped files (Linux)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


Headline = tuple[str, str, str]
"""What was measured, what was found, what is wanted."""


def report(
    name: str,
    figures: Mapping[str, Any],
    text: str,
    *,
    as_json: bool,
    headline: Sequence[Headline] = (),
) -> None:
    """Print the figures, as text with the machine's load beside them or as JSON.

    Args:
        name: Of the bench.
        figures: The numbers.
        text: The same in words.
        as_json: Print all of it as JSON, as `all.py` keeps it.
        headline: The figures that something is wanted of.
    """
    load = os.getloadavg()[0]
    if as_json:
        document = {"schema": f"avpipe.bench.{name}/1", "load": load, **figures}
        print(json.dumps({**document, "headline": headline, "text": text}, indent=2))
    else:
        print(text)
        print(f"load average {load:.1f} on {installed_cores()} cores at the end")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns side by side, the first aligned left, numbers to the right."""
    cells = [head, *[[_text(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
