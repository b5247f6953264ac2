"""`loky`: worker processes on this machine, that end with their run: by error, Ctrl-C or a kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ....machine import granted_cores
from .. import Workers
from ..parents import follow_parent, interrupts_wait
from . import Runner, WorkerKilledError
from .sequential import Sequential

ON_OTHER_HOSTS = False
TAKES_JOBS = True
_IDLE_S = 300
"""After so long without a task a worker ends."""
_HANDED_OUT_S = 10.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def open_runner(workers: Workers, gpus: int) -> Runner:
    """Start no process yet; a single job needs none at all."""
    return Sequential() if workers.jobs <= 1 else Loky(workers.jobs)


class Loky:
    """Runs tasks in processes that a later run of this process uses again."""

    def __init__(self, jobs: int) -> None:
        """Say how many processes."""
        from joblib.externals.loky import get_reusable_executor

        self.slots = jobs
        self._futures: dict[Future[Any], int] = {}
        threads = str(max(1, granted_cores() // jobs))
        with interrupts_wait():
            self._executor = get_reusable_executor(
                jobs,
                timeout=_IDLE_S,
                initializer=follow_parent,
                initargs=(os.getpid(),),
                env={name: os.environ.get(name, threads) for name in _THREADS},
            )

    def submit(self, number: int, work: Callable[[Any], Any], task: Any) -> None:
        """Queue a task, and start the processes if they do not run."""
        with interrupts_wait():
            try:
                self._futures[self._executor.submit(work, task)] = number
            except BrokenProcessPool as error:
                raise WorkerKilledError from error

    def next(self) -> tuple[int, Any]:
        """Wait for a task; one that killed its worker takes those of the others along."""
        done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
        future = done.pop()
        number = self._futures.pop(future)
        try:
            return number, future.result()
        except BrokenProcessPool as error:
            raise WorkerKilledError from error

    def everywhere(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Call it here: the workers are on this host."""
        return {"this machine": work()}

    def cancel(self) -> None:
        """Kill the processes.

        loky's thread that hands tasks out stumbles, and leaves semaphores behind, where it is told
        to forget a task that it has not handed out. There are never more than it hands out at once.
        """
        deadline = time.monotonic() + _HANDED_OUT_S
        while any(not (one.running() or one.done()) for one in self._futures):
            if time.monotonic() > deadline:
                break
            time.sleep(0.001)
        self._executor.shutdown(wait=True, kill_workers=True)

    def close(self) -> None:
        """Leave the processes for the next run."""
