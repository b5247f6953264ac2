"""Who runs tasks: a file each, whose name is the choice of `--backend`.

`pool.py` hands tasks to any of them. A file defines `ON_OTHER_HOSTS`, `TAKES_JOBS` and
`open_runner`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ....errors import InputError, MissingDependencyError, UsageError
from .. import Workers

CONNECT_S = 15.0
"""What an address may take to answer; with the wait for workers it stays under 30 s."""
WORKERS_S = 10.0
"""What the first worker of a cluster may take to appear."""


class WorkerKilledError(Exception):
    """A worker process was killed.

    Attributes:
        number: The task that it was killed at again and again; None: the tasks of all workers are
            lost, and which of them did it is not known.
    """

    def __init__(self, number: int | None = None) -> None:
        """Remember the task."""
        super().__init__(number)
        self.number = number


class Runner(Protocol):
    """Runs tasks somewhere, several at once."""

    @property
    def slots(self) -> int:
        """How many tasks run at once, as far as is known now."""

    def submit(self, number: int, work: Callable[[Any], Any], task: Any) -> None:
        """Run `work(task)` somewhere, as task `number`; both must be importable there."""

    def next(self) -> tuple[int, Any]:
        """Wait until a task has ended; return its number and result.

        Raises:
            WorkerKilledError: A worker was killed. Else what the task raises.
        """

    def everywhere(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Call `work` in a process of every host; return what came of it, errors too, by place."""

    def cancel(self) -> None:
        """Forget all that was submitted; what this process started is ended."""

    def close(self) -> None:
        """Let go of it, at the end of a run."""


class Engine(Protocol):
    """A file of this folder."""

    ON_OTHER_HOSTS: bool
    """Whether tasks may run on other machines: then it needs `--scheduler`."""
    TAKES_JOBS: bool
    """Whether it starts as many workers as `--jobs` says."""

    def open_runner(self, workers: Workers, gpus: int) -> Runner:
        """Start or reach the workers.

        Args:
            workers: How many, or where.
            gpus: GPUs that each task needs for itself.

        Raises:
            MissingDependencyError: A package is missing, or nobody answers.
        """


def load_engine(name: str) -> Engine:
    """Import the file of a runner.

    Raises:
        UsageError: There is none of that name.
    """
    names = [path.stem for path in Path(__file__).parent.glob("[a-z]*.py")]
    if name not in names:
        raise UsageError(f"no backend is called {name!r}: one of {', '.join(sorted(names))}")
    return cast("Engine", import_module(f".{name}", __package__))


def is_on_other_hosts(workers: Workers) -> bool:
    """Whether tasks may run on other machines; checks that an address is given for that.

    Raises:
        UsageError: It is not, or it is and nobody needs one.
    """
    other = load_engine(workers.backend).ON_OTHER_HOSTS
    if other and workers.scheduler is None:
        raise UsageError(f"--backend {workers.backend} needs --scheduler, the cluster's address")
    if not other and workers.scheduler is not None:
        raise UsageError(
            f"--scheduler {workers.scheduler}: --backend {workers.backend} runs on this machine"
        )
    return other


def runs_here(workers: Workers) -> bool:
    """Whether tasks run one by one in this very process.

    Raises:
        UsageError: As `is_on_other_hosts`.
    """
    return not is_on_other_hosts(workers) and workers.jobs == 1


@contextmanager
def opened(workers: Workers, gpus: int = 0) -> Iterator[Runner]:
    """Open a runner; when the block ends by an error, nothing of what was submitted is left.

    Raises:
        Errors as `is_on_other_hosts` and `open_runner`.
    """
    is_on_other_hosts(workers)
    runner = load_engine(workers.backend).open_runner(workers, gpus)
    try:
        yield runner
    except BaseException:
        runner.cancel()
        raise
    finally:
        runner.close()


def no_answer(workers: Workers, why: object) -> MissingDependencyError:
    """Return what to raise where an address does not answer."""
    line = " ".join(str(why).split())[:160]
    return MissingDependencyError(
        f"--scheduler {workers.scheduler}: no {workers.backend} cluster answers there ({line}): "
        "start it, or name the address that it prints"
    )


def no_workers(workers: Workers) -> MissingDependencyError:
    """Return what to raise where a cluster has no worker."""
    return MissingDependencyError(
        f"--scheduler {workers.scheduler}: the cluster has no worker after {WORKERS_S:g} s: start "
        "some, then run the same command again"
    )


def gone(workers: Workers) -> MissingDependencyError:
    """Return what to raise where a cluster ends while it has tasks."""
    return MissingDependencyError(
        f"--scheduler {workers.scheduler}: the {workers.backend} cluster has ended; nothing that "
        "was done is lost: start it again, then run the same command again"
    )


def not_installed(workers: Workers) -> MissingDependencyError:
    """Return what to raise where the package of a runner is missing."""
    name = workers.backend
    return MissingDependencyError(f"--backend {name} needs `pip install 'avpipe[{name}]'`")


def unexpected(where: str, error: Exception) -> InputError:
    """Return what to raise where a host cannot even be asked."""
    told = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"the worker at {where} cannot run avpipe ({told}): install the same there")
