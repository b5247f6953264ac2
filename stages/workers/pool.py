"""Worker processes that end with their run: when it fails, is interrupted, or is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from . import BACKEND

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_in_workers(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    on_result: Callable[[Result], None],
    *,
    jobs: int,
    backend: str = BACKEND,
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

    _let_managers_end()
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
    """Hold SIGINT back until the end of the block; from what is started inside, for good.

    So a worker is whole before Ctrl-C is answered, and safe before `follow_parent` has run in it.
    """
    _start_trackers()  # workers need them, and starting one would end the wait
    held: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    if is_main:  # other threads still receive the signal, and Python answers it here
        answer = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, answer)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if held:
            signal.raise_signal(signal.SIGINT)


def _let_managers_end() -> None:
    """Let loky's manager thread come to its end when a run is stopped.

    Told to kill its workers, the thread forgets the tasks but not their numbers. The next number it
    looks up then ends it by a KeyError: a traceback on the screen, and semaphores left behind.
    """
    from joblib.externals.loky.process_executor import _ExecutorManagerThread as Manager

    hand_out = Manager.add_call_item_to_queue
    if hand_out.__module__ == __name__:
        return

    def hand_out_what_is_known(self: Any) -> None:
        with suppress(KeyError):
            hand_out(self)

    Manager.add_call_item_to_queue = hand_out_what_is_known


def _start_trackers() -> None:
    """Start the processes that remove what workers leave behind.

    loky's is started to do so in silence: of a run that was stopped it would tell each semaphore
    it removes, in lines on which nobody has to act.
    """
    from joblib.externals.loky.backend import resource_tracker as of_loky

    resource_tracker.ensure_running()
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, "ignore:resource_tracker"]))
    try:
        of_loky.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before
