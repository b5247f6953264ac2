"""Processes that end when their parent does, and are whole before Ctrl-C is answered."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


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
def interrupts_wait() -> Iterator[None]:
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
