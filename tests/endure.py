"""Every power failure and every meeting of commands that there is time for; the counts are kept.

    python tests/endure.py power --minutes 60 --keep build/power.json
    python tests/endure.py meet --minutes 60 --keep build/meet.json

What was tried is kept in the file, and the next call goes on from there. The table tells the date,
the commit and what was tried in all; the exit code is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interleaved import GROUPS, alone, meeting_points, problem_of, sampled, schedules, traces
from power_loss import problem_after, record, shape
from power_worlds import COMMANDS, World, world_in
from stopped import run_until_stopped

Tally = dict[str, Any]
_SHOWN = 20
_AT_ONCE = 25
"""Schedules of a group before the next one's turn."""


class OutOfTimeError(Exception):
    """The minutes are over."""


class Book:
    """What was tried so far, by the name of a command or a group; kept in a file."""

    def __init__(self, path: Path, minutes: float) -> None:
        """Read what an earlier call left."""
        self.path, self._ends = path, time.monotonic() + 60 * minutes
        self.tallies: dict[str, Tally] = {}
        with suppress(FileNotFoundError):
            self.tallies = json.loads(path.read_text())

    def of(self, name: str) -> Tally:
        """Return the tally of a command or group."""
        plain = {"calls": 0, "states": 0, "tried": 0, "seen": [], "seeds": [], "broken": {}}
        return self.tallies.setdefault(name, plain)

    def keep(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.part")
        draft.write_text(json.dumps(self.tallies))
        draft.replace(self.path)

    def tried(self, tally: Tally, problem: str, where: str) -> None:
        """Count a state or a schedule.

        Raises:
            OutOfTimeError: The minutes are over.
        """
        tally["tried"] += 1
        if problem:
            tally["broken"].setdefault(problem[:400], where)
            print(f"BROKEN {where}\n  {problem}", file=sys.stderr)
        if tally["tried"] % 50 == 0:
            self.keep()
        if time.monotonic() > self._ends:
            raise OutOfTimeError


def power(world: World, book: Book, name: str, seed: int) -> None:
    """Try all states that the power may leave of a command, with those that a seed draws."""
    tally = book.of(name)
    if seed in tally["seeds"]:
        return
    recording, seen = record(world, name), set(tally["seen"])
    tally["calls"] = len(recording.events)
    states = 0
    for crash in recording.crashes(seed, num_random=8):
        states += 1
        if crash.broken:
            tally["broken"].setdefault(f"P1: {crash.broken}"[:400], crash.where)
        if (key := shape(crash.state)) not in seen:
            seen.add(key)
            tally["seen"].append(key)
            book.tried(tally, problem_after(world, name, crash.state), crash.where)
    tally["states"] += states
    tally["seeds"].append(seed)


def meet(world: World, book: Book, name: str, seed: int) -> None:
    """Try the schedules of a group: all with one change of the runner, then those with two."""
    tally, group = book.of(name), GROUPS[name]
    points = meeting_points(traces(world, group))
    calm = alone(world, group)
    one = list(schedules(points, 1))
    two = sampled(schedules(points, 2), 1 << 40, 0)
    every = [*one, *(schedule for schedule in two if len(schedule) > 1)]
    tally["calls"], tally["states"] = sum(map(len, points)), len(every)
    start = tally["tried"]
    for schedule in every[start : start + _AT_ONCE]:
        book.tried(tally, problem_of(world, group, schedule, calm), f"{name}: {schedule}")
    if tally["tried"] >= len(every):
        tally["seeds"].append(seed)


@contextmanager
def worlds() -> Iterator[Callable[[bool], World]]:
    """Give what commands that learn, and those that do not, are run in; made when asked for."""
    made: dict[bool, World] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:

        def world(learns: bool) -> World:
            if learns not in made:
                place = Path(folder) / str(learns)
                made[learns] = opened.enter_context(world_in(place, learns=learns))
            return made[learns]

        yield world


def table(book: Book, what: str) -> str:
    """Say what was tried in all."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    heads = {
        "power": ("command", "calls", "states, P1 looked at", "different, run again", "broken"),
        "meet": ("commands", "points", "schedules there are", "tried", "broken"),
    }[what]
    rows = [
        (name, tally["calls"], tally["states"], tally["tried"], len(tally["broken"]))
        for name, tally in book.tallies.items()
    ]
    rows.append(("all", *(sum(int(row[at]) for row in rows) for at in range(1, 5))))
    lines = [f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}", ""]
    lines += [f"| {' | '.join(map(str, row))} |" for row in (heads, ("---",) * 5, *rows)]
    broken = [(p, w) for tally in book.tallies.values() for p, w in tally["broken"].items()]
    return "\n".join([*lines, *(f"\n{where}\n  {problem}" for problem, where in broken[:_SHOWN])])


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["power", "meet"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="the first; then the next")
    parser.add_argument("--keep", type=Path, help="default: build/WHAT.json")
    parser.add_argument("--only", action="append", help="a command, or a group; may be repeated")
    asked = parser.parse_args()
    os.environ |= {"AVPIPE_DEVICE": "cpu", "AVPIPE_WEIGHTS_DIR": "/nowhere", "OMP_NUM_THREADS": "1"}
    os.fsync = lambda fd: None  # what this process writes is read by others, not after a crash
    book = Book(asked.keep or Path("build") / f"{asked.what}.json", asked.minutes)
    learning = (
        {name: command.learns for name, command in COMMANDS.items()}
        if asked.what == "power"
        else {name: "train" in name for name in GROUPS}
    )
    names = [name for name in learning if not asked.only or name in asked.only]
    seed = asked.seed
    with worlds() as world, suppress(OutOfTimeError):
        while asked.what == "power" or not all(book.of(name)["seeds"] for name in names):
            for name in names:
                if asked.what == "power" or not book.of(name)["seeds"]:
                    (power if asked.what == "power" else meet)(
                        world(learning[name]), book, name, seed
                    )
                book.keep()
            seed += 1
    book.keep()
    print(table(book, asked.what))
    return int(any(tally["broken"] for tally in book.tallies.values()))


if __name__ == "__main__":
    run_until_stopped(main)
