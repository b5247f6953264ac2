"""Independent tasks over worker processes, in rounds: a killed worker costs only its tasks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from ..errors import AvpipeError

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_rounds(
    todo: Callable[[], list[int]],
    make_task: Callable[[int], Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
    *,
    jobs: int,
    backend: str,
) -> None:
    """Run every task that `todo` names; when a worker dies, ask again and run what is left.

    Args:
        todo: Names the tasks not done yet, by number.
        make_task: Makes a task; called in this process, just before the task is handed out.
        work: Runs a task in a worker process; must be importable there.
        on_result: Called in this process with each result as it comes.
        jobs: Worker processes.
        backend: joblib's name for who runs them; `sequential` runs them here.

    Raises:
        AvpipeError: If workers keep dying and a whole round finished nothing.
    """
    numbers = todo()
    while numbers:
        if run_once((make_task(number) for number in numbers), work, on_result, jobs, backend):
            return
        left = todo()
        if len(left) >= len(numbers):
            shown = ", ".join(map(str, left[:5]))
            raise AvpipeError(
                f"worker processes keep being killed (out of memory?) at shards {shown}; run the "
                "same command with --jobs 1"
            )
        numbers = left


def run_once(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
    jobs: int,
    backend: str,
) -> bool:
    """Run the tasks once; return whether no worker was killed."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    guarded = delayed(_guarded)
    parallel = Parallel(
        n_jobs=jobs,
        backend=backend,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=2 * jobs,
    )
    try:
        for result in parallel(guarded(work, task, os.getpid()) for task in tasks):
            on_result(result)
    except BrokenProcessPool:
        return False
    except BaseException:
        if backend == "loky":  # interrupted, or one task stopped the run: leave nobody behind
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise
    return True


def _guarded(work: Callable[[Task], Result], task: Task, driver: int) -> Result:
    if os.getpid() != driver:
        _die_with(driver)
    return work(task)


_watched: set[int] = set()


def _die_with(driver: int) -> None:
    """End this worker soon after its driver is gone; a killed driver cannot tell it to."""
    if driver in _watched or os.getppid() != driver:
        return  # (a worker that is no child of the driver belongs to a scheduler)
    _watched.add(driver)

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
