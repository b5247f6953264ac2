"""Programs of Python as forks of the process that starts them, which has loaded what they import.

Command line, streams, open files, variables and signals are those of a new program.
"""

from __future__ import annotations

import _posixsubprocess
import contextlib
import os
import resource
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_really_fork_exec = _posixsubprocess.fork_exec
at_end: list[Callable[[], None]] = []
"""What a program does last, whatever it is."""


def fork_python(*asked: Any) -> int:
    """Stand in for `_posixsubprocess.fork_exec`: of Python's own programs a fork becomes one."""
    words = [os.fsdecode(word) for word in asked[0]]
    at = next((i for i, word in enumerate(words) if word in ("-m", "-c")), 0)
    if os.fsdecode(words[0]) != sys.executable or not at:
        return int(_really_fork_exec(*asked))
    kept = {int(fd) for fd in asked[3]} - {asked[13]}  # that pipe tells errors of exec, and closes
    environment, streams, new_session = asked[5], asked[6:12], asked[15]
    if (pid := os.fork()) == 0:
        try:
            _take_over(kept, environment, (streams[0], streams[3], streams[5]), new_session)
            _run(words[at], words[at + 1], words[at + 2 :])
        except SystemExit as stop:
            _end(stop.code)
        except BaseException:
            traceback.print_exc()
            _end(1)
        _end(0)
    return pid


def _take_over(
    kept: set[int], environment: Any, streams: tuple[int, int, int], new_session: bool
) -> None:
    """Be a program that was just started: its streams, files, variables, signals."""
    for number, fd in enumerate(streams):
        if fd >= 0:
            os.dup2(fd, number)
    if new_session:
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else 0)
    _allow_what_is_loaded()
    low = 3
    for fd in sorted(fd for fd in kept if fd > 2):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
    if environment is not None:
        os.environ.clear()
        os.environ.update(os.fsdecode(line).split("=", 1) for line in environment)


def _allow_what_is_loaded() -> None:
    """Let a limit of memory leave out what the one it was forked from had loaded."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    loaded, limit = pages * resource.getpagesize(), resource.setrlimit

    def set_limit(what: int, limits: tuple[int, int]) -> None:
        more = loaded if what == resource.RLIMIT_AS else 0
        limit(what, (limits[0] + more, limits[1] + more))

    resource.setrlimit = set_limit  # type: ignore[assignment]


def _run(how: str, what: str, rest: list[str]) -> None:
    sys.argv = [what, *rest]
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, buffering=1, closefd=False, errors="backslashreplace")
        for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    if how == "-c":
        exec(what, {"__name__": "__main__"})
    else:
        sys.modules.pop(what, None)  # it was imported, and is run now
        runpy.run_module(what, run_name="__main__", alter_sys=True)


def _end(code: object) -> NoReturn:
    with contextlib.suppress(BaseException):
        for do in at_end:
            do()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
