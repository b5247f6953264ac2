"""Ctrl-C in programs that go on for hours: a line that says how to go on, and no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

STOPPED = 128 + signal.SIGINT
_TELLS = "AVPIPE_TESTS_TELLS_STOP"
"""Set by the program that tells it, for those that it starts."""


def run_until_stopped(
    main: Callable[[], int | None], resumes: str = "the same command goes on from there"
) -> NoReturn:
    """Run a program and exit with its code; at Ctrl-C with 130, and a line on standard error.

    Args:
        main: The program.
        resumes: How to go on, for the line.
    """
    is_told = _TELLS in os.environ
    os.environ[_TELLS] = "1"
    try:
        code = main()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not is_told:
            name = Path(sys.argv[0]).name
            print(f"{name}: stopped; what is done is kept, {resumes}", file=sys.stderr)
        code = STOPPED
    sys.exit(code)


@contextmanager
def ignoring_ctrl_c() -> Iterator[None]:
    """Let processes that are started meanwhile leave Ctrl-C to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def codes_of(started: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Wait for processes, which hear Ctrl-C themselves; return their exit codes.

    Raises:
        KeyboardInterrupt: It came, and they have ended.
    """
    try:
        return [one.wait() for one in started]
    except KeyboardInterrupt:
        with ignoring_ctrl_c():
            for one in started:
                one.wait()
        raise
