"""SIGTERM and SIGINT while a network trains: the running step is finished, if it ever ends."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 60.0
"""How long a step may take to end after the first signal."""
_ONE_S = 1.0
"""Signals no further apart are one: `torchrun` passes on what a terminal told its processes too."""
_NUMBERS = (signal.SIGTERM, signal.SIGINT)
_LINE = (
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
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_watch, args=(reader, GRACE_S), daemon=True)
    watcher.start()
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, note) for number in _NUMBERS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _watch(reader: int, grace_s: float) -> None:
    """End the process at a second signal, or some time after the first; return once it is closed.

    The C handler writes each signal's number into the pipe at once, whatever the main thread does.
    """
    first: tuple[float, int] | None = None
    while True:
        left_s = None if first is None else max(0.0, first[0] + grace_s - time.monotonic())
        ready, _, _ = select.select([reader], [], [], left_s)
        read = os.read(reader, 64) if ready else b""
        if ready and not read:
            return
        now, ours = time.monotonic(), [number for number in read if number in _NUMBERS]
        if first is None:
            first = (now, ours[0]) if ours else None
        elif now - first[0] >= grace_s or (ours and now - first[0] > _ONE_S):
            os.write(2, f"{_LINE}\n".encode())
            os._exit(128 + (ours or first)[-1])
