"""Independent tasks over worker processes, in rounds: a killed worker costs only its tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from ...errors import AvpipeError
from ...stages.workers import Workers
from ...stages.workers.fitness import Fitness
from ...stages.workers.pool import run_in_workers
from ...stages.workers.runners import WorkerKilledError

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_rounds(
    todo: Callable[[], list[int]],
    make_task: Callable[[int], Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
    *,
    workers: Workers,
    fitness: Fitness | None = None,
    noun: str = "shard",
) -> None:
    """Run every task that `todo` names; when a worker dies, ask again and run what is left.

    One dead worker of this machine takes the tasks of all others along. So when a round finished
    nothing, or a cluster has tried a task several times, each that is left is tried alone, and only
    those that kill their worker again are given up.

    Args:
        todo: Names the tasks not done yet, by number.
        make_task: Makes a task; called in this process, just before the task is handed out.
        work: Runs a task in a worker process; must be importable there.
        on_result: Called in this process with each result as it comes.
        workers: Who runs them.
        fitness: What workers on other hosts must have.
        noun: What a number is of, for the message.

    Raises:
        AvpipeError: If some tasks killed their worker again and again; all others are done.
    """

    def run(numbers: Sequence[int], jobs: int) -> WorkerKilledError | None:
        tasks, asked = map(make_task, numbers), replace(workers, jobs=jobs)
        try:
            run_in_workers(tasks, work, on_result, workers=asked, fitness=fitness)
        except WorkerKilledError as error:
            return error
        return None

    # at least two workers where there may be: a single one would be this very process
    deadly: dict[int, WorkerKilledError] = {}
    while numbers := [number for number in todo() if number not in deadly]:
        killed = run(numbers, min(workers.jobs, max(2, len(numbers))))
        if killed is None:
            break
        left = [number for number in todo() if number not in deadly]
        if killed.number is not None or len(left) == len(numbers):
            alone = {number: run([number], 2) for number in left}
            deadly |= {number: error for number, error in alone.items() if error}
    if deadly:
        shown = ", ".join(map(str, list(deadly)[:5]))
        raise AvpipeError(
            f"worker processes are killed at {noun} {shown} (out of memory?), all others are done: "
            "free some memory and run the same command again"
        ) from next(iter(deadly.values()))
