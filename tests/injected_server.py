"""Forks a process for each command that `injected.py` asks for, and waits for its whole family.

Workers and decoders are processes of their own, as always; but those of Python are forked from the
one that asks for them, too, instead of starting the interpreter once more (`forked_programs.py`).
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
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from forked_programs import at_end, fork_python
from injected import HUNG
from narrow_peers import narrow
from warm import leave

_PR_SET_CHILD_SUBREAPER = 36
_modules = ""
"""Where a process tells at its end which modules it had to load; "" for nowhere."""


def serve(library: Any, folder: Path) -> None:
    """Run what standard input asks for, a line each; answer with a line each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who asked, and for commands
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans become ours: we see their end
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for text in sys.stdin:
        arguments, below, limit_s, how = json.loads(text)
        _learn_modules(folder)
        pid = os.fork()
        if pid == 0:
            _become(library, folder, arguments, below, how)
        code = _end_of_family(pid, limit_s)
        calls, hit, inside = library.injected(), library.injected_at(), library.injected_in()
        stderr = (folder / "stderr").read_text(errors="replace")
        answer = {"code": code, "stderr": stderr, "calls": calls, "hit": os.fsdecode(hit)}
        answer |= {"in_child": inside not in (0, pid)}
        print(json.dumps(answer), flush=True)


def _make_parser() -> None:
    """Make the parser of the command line once: each command would take a tenth of a second."""
    import typer
    from avpipe.pipeline.cli import app

    made = typer.main.get_command(app)
    typer.main.get_command = lambda _: made


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
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.dup2(fd, number)
        os.close(fd)
    _posixsubprocess.fork_exec = fork_python  # type: ignore[assignment]
    subprocess._fork_exec = fork_python  # type: ignore[attr-defined]
    if not how[1]:
        global _modules
        _modules = str(folder / f"modules-{os.getppid()}")
        at_end.append(_tell_modules)
        atexit.register(_tell_modules)
    library.inject(os.fsencode(below), *how)
    code: object = 1
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    leave(code)


if __name__ == "__main__":
    name, where = sys.argv[1:]
    _make_parser()
    narrow()
    if name:
        made: Any = ctypes.CDLL(name)
        made.injected_at.restype = ctypes.c_char_p
    else:
        from injected_python import PythonLibrary

        made = PythonLibrary()
    serve(made, Path(where))
