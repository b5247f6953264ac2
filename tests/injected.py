"""Run `avpipe` commands of which one system call fails: a server that forks a process for each.

`Injector` compiles `faults/inject.c`, starts `injected_server.py` with it preloaded, and asks it to
run commands. The server loads what the commands before had to load, so that a command takes a
fraction of a second from its second time on. Where there is no compiler, `injected_python.py` does
what Python can do of it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = (
    "open", "create", "read", "write", "pwrite", "fsync", "rename", "link", "unlink", "mkdir",
    "rmdir", "truncate", "close",
)  # fmt: skip
"""As `inject.c` numbers them."""
MOVES = ("read", "write", "pwrite")
"""Calls that may do less than they were asked."""
EXITS, SHORT, KILLED = -1, -2, -3
FAULTS = {
    "EIO": errno.EIO,
    "EMFILE": errno.EMFILE,
    "ENOSPC": errno.ENOSPC,
    "EDQUOT": errno.EDQUOT,
    "EROFS": errno.EROFS,
    "ESTALE": errno.ESTALE,
    "short": SHORT,
    "exit": EXITS,
    "kill": KILLED,
}
EXITED, WAS_KILLED, HUNG = 137, -9, -1000
"""Codes of a process that ended at a call, was killed at one, and did not end at all."""
_SOURCE = Path(__file__).with_name("faults") / "inject.c"
_SERVER = Path(__file__).with_name("injected_server.py")


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Its exit code.
        stderr: What it told.
        calls: How many calls were counted.
        hit: The call that failed, `rename /a/b`; "" if none did.
        in_child: Whether it was the call of a worker or a decoder.
    """

    code: int
    stderr: str
    calls: int
    hit: str
    in_child: bool = False

    def problem(self) -> str:
        """Say what is wrong with such an end; "" if it is as a user may expect it."""
        errors = [line for line in self.stderr.splitlines() if line.startswith("avpipe: error:")]
        if self.code == HUNG:
            return "it hangs"
        if "Traceback" in self.stderr or "Exception ignored" in self.stderr:
            return "a traceback"
        if self.code not in (0, 3, 4, 5, 7, EXITED, WAS_KILLED):
            return f"exit code {self.code}"
        if len(errors) != (self.code not in (0, EXITED, WAS_KILLED)):
            return f"{len(errors)} lines of error with exit code {self.code}"
        return ""


def compiler() -> str | None:
    """Return a C compiler, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(source: Path, library: Path) -> None:
    """Compile a library that is to be preloaded."""
    words = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", library, source]
    subprocess.run([*map(str, words), "-ldl", "-pthread"], check=True)


class Injector:
    """Runs commands in processes of their own; a context manager."""

    def __init__(self, folder: Path, below: Path, *, pure: bool = False) -> None:
        """Compile the library.

        Args:
            folder: Where the library and what commands print go.
            below: Calls on files below this folder are counted and fail.
            pure: Do without the library, as where there is no compiler.
        """
        self._below, self._folder = below, folder
        self._library = "" if pure else str(folder / "inject.so")
        if self._library and not Path(self._library).exists():
            build(_SOURCE, Path(self._library))

    def __enter__(self) -> Injector:
        """Start the server."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if self._library:
            state = str(self._folder / f"state-{id(self)}")
            environment |= {"LD_PRELOAD": self._library, "INJECT_STATE": state}
        self._server = subprocess.Popen(
            [sys.executable, str(_SERVER), self._library, str(self._folder)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._server.communicate()

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        at: int = 0,
        error: int = errno.EIO,
        kinds: Sequence[str] = KINDS,
        sticky: bool = False,
        limit_s: int = 300,
    ) -> Outcome:
        """Run `avpipe` with those arguments, and wait for all processes of it.

        Args:
            arguments: Of the command line.
            at: Number of the call that fails; 0 for none.
            error: The error's number, `EXITS`, `KILLED` or `SHORT`.
            kinds: Calls of these kinds are counted.
            sticky: All calls behind it fail, too.
            limit_s: After so long it hangs, and is killed.
        """
        bits = sum(1 << KINDS.index(kind) for kind in kinds)
        how = [bits, at, error, int(sticky)]
        asked = [[*map(str, arguments)], str(self._below), limit_s, how]
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return Outcome(**json.loads(self._server.stdout.readline()))
