"""Independent tasks over worker processes, in rounds: a killed worker costs only its tasks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
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

    One dead worker takes the tasks of all others along. So when a round finished nothing, each task
    is tried alone, and only those that kill their worker again are given up.

    Args:
        todo: Names the tasks not done yet, by number.
        make_task: Makes a task; called in this process, just before the task is handed out.
        work: Runs a task in a worker process; must be importable there.
        on_result: Called in this process with each result as it comes.
        jobs: Worker processes.
        backend: joblib's name for who runs them; `sequential` runs them here.

    Raises:
        AvpipeError: If some tasks killed their worker again and again; all others are done.
    """

    def run(numbers: Sequence[int], jobs: int) -> BrokenProcessPool | None:
        return _run_once(map(make_task, numbers), work, on_result, jobs, backend)

    # at least two workers where there may be: joblib runs the tasks of a single one in this process
    deadly: dict[int, BrokenProcessPool] = {}
    while numbers := [number for number in todo() if number not in deadly]:
        if run(numbers, min(jobs, max(2, len(numbers)))) is None:
            break
        left = [number for number in todo() if number not in deadly]
        if len(left) == len(numbers):
            alone = {number: run([number], 2) for number in left}
            deadly |= {number: error for number, error in alone.items() if error}
    if deadly:
        shown = ", ".join(map(str, list(deadly)[:5]))
        raise AvpipeError(
            f"worker processes are killed at shard {shown} (out of memory?), all others are done: "
            "free some memory and run the same command again"
        ) from next(iter(deadly.values()))


def _run_once(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
    jobs: int,
    backend: str,
) -> BrokenProcessPool | None:
    """Run the tasks once; return joblib's error if a worker was killed."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    watched = {"initializer": die_with_parent, "initargs": (os.getpid(),)}
    parallel = Parallel(
        n_jobs=jobs,
        backend=backend,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=2 * jobs,
        **(watched if backend == "loky" else {}),
    )
    try:
        for result in parallel(delayed(work)(task) for task in tasks):
            on_result(result)
    except BrokenProcessPool as error:
        return error
    except BaseException:
        if backend == "loky":  # interrupted, or one task stopped the run: leave nobody behind
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise
    return None


def die_with_parent(parent: int) -> None:
    """Let this worker process end soon after its parent has; a killed parent cannot tell it to."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
