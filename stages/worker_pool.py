"""Worker processes that end with their run: when it fails, is interrupted, or is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_in_workers(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
    *,
    jobs: int,
    backend: str = "loky",
) -> None:
    """Run tasks in worker processes; when that ends by an error, no worker is left.

    Args:
        tasks: Made one by one in this process, as workers become free.
        work: Runs a task in a worker process; must be importable there.
        on_result: Called in this process with each result as it comes.
        jobs: Worker processes.
        backend: joblib's name for who runs them; `sequential` runs them here.

    Raises:
        BrokenProcessPool: A worker was killed. Else what `work` or `on_result` raise.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    watched = {"initializer": follow_parent, "initargs": (os.getpid(),)}
    parallel = Parallel(
        n_jobs=jobs,
        backend=backend,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=2 * jobs,
        **(watched if backend == "loky" else {}),
    )
    with warnings.catch_warnings():
        # of results that a stopped run leaves: joblib advises to ask for fewer
        warnings.filterwarnings("ignore", ".*adjusting the input task iterator", UserWarning)
        try:
            with ExitStack() as stack:
                with _interrupts_wait():
                    results = parallel(delayed(work)(task) for task in tasks)
                    stack.callback(results.close)
                for result in results:
                    on_result(result)
        except BaseException:
            if backend == "loky":
                get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


def follow_parent(parent: int) -> None:
    """Let this worker process end soon after its parent has, and not by Ctrl-C.

    A killed parent cannot end its workers. Ctrl-C in a terminal reaches parent and workers alike,
    and the parent alone is to answer it.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold SIGINT back from this thread, and from the processes and threads it starts, for good.

    So a worker is safe before `follow_parent` has run in it.
    """
    resource_tracker.ensure_running()  # workers need it, and starting it would end the wait
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
