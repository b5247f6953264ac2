"""How many threads a run's steps have on a CPU: tried before the first, kept by all that follow."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from threadpoolctl import threadpool_limits

from ..machine import granted_cores, try_threads
from ..stopping import stop_signals
from .data.feed import Feed
from .learner import Learner
from .runs.record import read_record, write_record
from .start import Notices

Threads = int | Literal["auto"] | None
"""A number; `auto` to try; None for as many as PyTorch is set to."""

SLOW = 3.0
"""How many times slower than at first steps are when it is told."""
_SKIPPED = 2
"""First steps of a call, which set things up."""
_WINDOW = 9
"""Steps whose median is a pace."""


@contextmanager
def own_threads() -> Iterator[None]:
    """Give PyTorch its number of threads back at the end.

    NumPy's products have one thread meanwhile: the threads that read clips compute them, and
    threads below threads would wait for each other.
    """
    before = torch.get_num_threads()
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def most_threads() -> int:
    """Return how many threads are granted to PyTorch, by the machine and by its own settings."""
    return min(torch.get_num_threads(), granted_cores())


def settle_threads(
    folder: Path,
    wanted: Threads,
    learner: Learner,
    copied: Callable[[], Learner],
    feed: Feed,
    first_step: int,
    notices: Notices,
) -> int | None:
    """Set the threads of a run's steps; what leads records them in `run.json`.

    A run that was begun goes on with the recorded number, whatever is faster now: others round
    otherwise. Steps that are tried learn on copies, and leave no trace in the run.

    Args:
        folder: The run.
        wanted: What the user asks for. A number is obeyed in a run that was begun, too.
        learner: The run's networks.
        copied: Copies them, with an optimizer of their own.
        feed: The run's batches.
        first_step: The step to go on with; nothing is tried but before step 0.
        notices: Told what was found.

    Returns:
        The number; None on a GPU, whose steps hardly depend on it: there nothing is tried or
        recorded.
    """
    if learner.device.type != "cpu":
        if isinstance(wanted, int):
            torch.set_num_threads(wanted)
        return None
    record = read_record(folder)
    before = record.threads if first_step else None
    number = wanted if isinstance(wanted, int) else before or torch.get_num_threads()
    if wanted == "auto" and not first_step and learner.ranks.size == 1:
        number = _faster(copied, feed, notices)
    elif before and number != before:
        notices.tell(
            f"{number} threads from step {first_step} on, {before} until there: sums are rounded "
            "otherwise than in a run with one number"
        )
    torch.set_num_threads(number)
    if learner.ranks.leads and record.threads != number:
        write_record(folder, replace(record, threads=number))
    return number


def _faster(copied: Callable[[], Learner], feed: Feed, notices: Notices) -> int:
    """Try a few steps with one thread and with all."""
    if (most := most_threads()) == 1:
        return 1
    learner, batch = copied(), next(feed(0))
    with stop_signals() as received, torch.random.fork_rng(devices=[]):
        trial = try_threads(lambda: learner.learn(0, batch), most, torch.set_num_threads)
    if received:
        signal.raise_signal(received[0])
    notices.tell(f"trained with {trial.text()}; kept when resumed")
    return trial.threads


class Pace:
    """Tells once when steps take much longer than the first ones of this call did."""

    def __init__(self, threads: int, tell: Callable[[str], None]) -> None:
        """Begin; `threads` is what the steps have."""
        self._threads, self._tell = threads, tell
        self._last: deque[float] = deque(maxlen=_WINDOW)
        self._left = _SKIPPED
        self._first_s: float | None = None
        self._told = False

    def add(self, seconds: float) -> None:
        """Count a step that took that long."""
        if self._left:
            self._left -= 1
            return
        self._last.append(seconds)
        if self._told or len(self._last) < _WINDOW:
            return
        now_s = sorted(self._last)[_WINDOW // 2]
        if self._first_s is None:
            self._first_s = now_s
        elif now_s > SLOW * self._first_s:
            self._told = True
            self._tell(self._line(1 / now_s, 1 / self._first_s))

    def _line(self, now: float, first: float) -> str:
        way_out = "stop it (Ctrl-C), and run the same command again when they have ended"
        if self._threads > 1:
            way_out = "stop it (Ctrl-C), and go on by the same command with --threads 1"
        return f"{now:.2g} steps/s, {first:.2g} at first: other programs use the cores; {way_out}"
