"""SIGTERM and SIGINT: whoever runs is stopped in order, or ended where that does not come about.

Python's handlers run between two steps of the interpreter. A call into a library that hangs, or
takes minutes, hears nothing. The handler of Python that is written in C does run: it writes the
signal's number into a pipe, which a thread reads.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE_S = 60.0
"""How long what runs may take to end after the first signal."""
_ONE_S = 1.0
"""Signals no further apart are one: `torchrun` passes on what a terminal told its processes too."""
_NUMBERS = (signal.SIGTERM, signal.SIGINT)
_COMMAND = (
    "avpipe: error: interrupted; what was running did not end and is lost, the same command "
    "resumes from what is saved"
)
_STEP = (
    "avpipe: error: interrupted; the running step did not end and is lost, the same command "
    "resumes from the last checkpoint"
)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of acting on them; only the main thread can.

    A second signal, or `GRACE_S` after the first, ends the process at once with the exit code 128
    plus the signal's number, also where a step hangs inside a library and Python's handlers do not
    get to run. Checkpoints are renamed into place: the last one stays whole.
    """
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before_us, writer, watcher = _watched(_STEP)
    before = {number: signal.signal(number, note) for number in _NUMBERS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_us)
        os.close(writer)
        watcher.join()


def end_at_last() -> None:
    """From now on, end this process at a second SIGTERM or SIGINT, or `GRACE_S` after the first.

    What they do first stays as it is: they interrupt the command, which tidies up. To the very end
    of the process, for that is where threads are waited for. Files are renamed into place when they
    are whole, so nothing that was saved is hurt. `stop_signals` takes its place for its time.
    """
    _watched(_COMMAND)


def _watched(line: str) -> tuple[int, int, threading.Thread]:
    """Start a thread that may end the process.

    Returns:
        The file that was told of signals until now, the one that is told from now on and whose
        closing ends the thread, and the thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_watch, args=(reader, GRACE_S, line), daemon=True)
    watcher.start()
    return signal.set_wakeup_fd(writer, warn_on_full_buffer=False), writer, watcher


def _watch(reader: int, grace_s: float, line: str) -> None:
    """End the process at a second signal, or some time after the first; return once it is closed.

    The C handler writes each signal's number into the pipe at once, whatever the main thread does.
    """
    first: tuple[float, int] | None = None
    while True:
        left_s = None if first is None else max(0.0, first[0] + grace_s - time.monotonic())
        ready, _, _ = select.select([reader], [], [], left_s)
        read = os.read(reader, 64) if ready else b""
        if ready and not read:
            os.close(reader)
            return
        now, ours = time.monotonic(), [number for number in read if number in _NUMBERS]
        if first is None:
            first = (now, ours[0]) if ours else None
        elif now - first[0] >= grace_s or (ours and now - first[0] > _ONE_S):
            with suppress(OSError):
                os.write(2, f"{line}\n".encode())
            os._exit(128 + (ours or first)[-1])
