"""Tasks over workers, whoever runs those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ...errors import AvpipeError
from . import Workers
from .fitness import Fitness, require_fit, sweep, work_if_fit
from .runners import Runner, WorkerKilledError, is_on_other_hosts, opened, unexpected

Task = TypeVar("Task")
Result = TypeVar("Result")

_END = object()


def run_in_workers(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
    *,
    workers: Workers,
    fitness: Fitness | None = None,
) -> None:
    """Run tasks in workers; when that ends by an error, nothing of it goes on.

    Args:
        tasks: Made one by one in this process, as workers become free.
        work: Runs a task in a worker; must be importable there.
        on_result: Called in this process with each result as it comes.
        workers: Who runs them.
        fitness: What workers on other hosts must have; they are asked before anything is run.

    Raises:
        WorkerKilledError: A worker was killed; where it is known at which tasks, all others are
            done. Else what `work` or `on_result` raise.
    """
    asked = fitness if is_on_other_hosts(workers) else None
    with opened(workers, fitness.gpus if fitness else 0) as runner:
        if asked is None:
            _run(runner, tasks, work, on_result)
            return
        with asked.with_token() as checked:
            _raise_first(runner.everywhere(partial(require_fit, checked)))
            try:
                _run(runner, tasks, partial(work_if_fit, work=work, fitness=checked), on_result)
            finally:  # drafts of workers that were killed lie under the names of their hosts
                with suppress(Exception):  # a cluster that has ended is told as that
                    runner.everywhere(partial(sweep, checked))


def _run(
    runner: Runner,
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
) -> None:
    """Keep two tasks for each worker on their way."""
    numbered = iter(enumerate(tasks))
    killed: WorkerKilledError | None = None
    waiting, is_more = 0, True
    while is_more or waiting:
        while is_more and waiting < 2 * runner.slots:
            item = next(numbered, _END)
            is_more = item is not _END
            if isinstance(item, tuple):
                runner.submit(item[0], work, item[1])
                waiting += 1
        if waiting:
            try:
                _, result = runner.next()
            except WorkerKilledError as error:
                if error.number is None:
                    raise
                killed = error
            else:
                on_result(result)
            waiting -= 1
    if killed:
        raise killed


def _raise_first(found: Mapping[str, object]) -> None:
    """Raise the first error of those that hosts told; a worker that is lost meanwhile tells none.

    Raises:
        AvpipeError: As `require_fit`; or a worker cannot even be asked.
    """
    for where, error in found.items():
        if isinstance(error, AvpipeError):
            raise error
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise unexpected(where, error) from error
