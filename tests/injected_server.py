"""Forks a process for each command that `injected.py` asks for, and waits for its whole family.

Workers and decoders are processes of their own, as always; but those of Python are forked from the
one that asks for them, too, instead of starting the interpreter once more. Command line, streams,
open files, variables and signals are those of a new program.
"""

from __future__ import annotations

import _posixsubprocess
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from injected import HUNG

_PR_SET_CHILD_SUBREAPER = 36
_modules = ""
"""Where a process tells at its end which modules it had to load; "" for nowhere."""
_really_fork_exec = _posixsubprocess.fork_exec


def serve(library: Any, folder: Path) -> None:
    """Run what standard input asks for, a line each; answer with a line each."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans become ours: we see their end
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for text in sys.stdin:
        arguments, below, limit_s, how = json.loads(text)
        _learn_modules(folder)
        pid = os.fork()
        if pid == 0:
            _become(library, folder, arguments, below, how)
        before = _processor_s()
        code = _end_of_family(pid, limit_s)
        calls, hit, inside = library.injected(), library.injected_at(), library.injected_in()
        stderr = (folder / "stderr").read_text(errors="replace")
        answer = {"code": code, "stderr": stderr, "calls": calls, "hit": os.fsdecode(hit)}
        answer |= {"in_child": inside not in (0, pid), "processor_s": _processor_s() - before}
        print(json.dumps(answer), flush=True)


def _learn_modules(folder: Path) -> None:
    """Load what commands before had to load: forks find it, and share it."""
    told = folder / f"modules-{os.getpid()}"
    if not told.exists():
        return
    for name in told.read_text().split():
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    told.unlink()
    gc.freeze()  # no collection of a fork touches what is shared


def _tell_modules() -> None:
    if _modules:
        with open(_modules, "a") as file:  # noqa: PTH123
            file.write(" ".join([*sys.modules, ""]))


def _processor_s() -> float:
    """Return the time on processors of all families so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _end_of_family(pid: int, limit_s: float) -> int:
    """Wait until a process and all below it have ended; kill them if they do not."""
    code, deadline = 0, time.monotonic() + limit_s
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
        elif not ended and time.monotonic() > deadline:
            code, deadline = HUNG, deadline + 10
            for child in _below(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        elif not ended:
            signal.sigtimedwait({signal.SIGCHLD}, max(0.01, deadline - time.monotonic()))


def _below(pid: int) -> list[int]:
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                table[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, frontier = [], [pid]
    while frontier:
        frontier = [child for child, parent in table.items() if parent in frontier]
        found += frontier
    return found


def _become(
    library: Any, folder: Path, arguments: list[str], below: str, how: list[int]
) -> NoReturn:
    """Run the command as a process of its own would, to its very end."""
    from avpipe.pipeline.main import main

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.dup2(fd, number)
        os.close(fd)
    _posixsubprocess.fork_exec = fork_python  # type: ignore[assignment]
    subprocess._fork_exec = fork_python  # type: ignore[attr-defined]
    if not how[1]:
        global _modules
        _modules = str(folder / f"modules-{os.getppid()}")
    library.inject(os.fsencode(below), *how)
    code: object = 1
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    _leave(code)


def _leave(code: object) -> NoReturn:
    """End as Python does, but for taking apart what is loaded: of PyTorch that takes a second."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _tell_modules()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


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
        _tell_modules()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    name, where = sys.argv[1:]
    importlib.import_module("avpipe.pipeline.cli")
    if name:
        made: Any = ctypes.CDLL(name)
        made.injected_at.restype = ctypes.c_char_p
    else:
        from injected_python import PythonLibrary

        made = PythonLibrary()
    serve(made, Path(where))
