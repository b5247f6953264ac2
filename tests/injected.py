"""Run `avpipe` commands of which one system call fails: a server that forks a process for each.

`Injector` compiles `faults/inject.c`, starts this file with it preloaded, and asks it to run
commands. The server loads torch once, so that a command takes a fraction of a second.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = (
    "open", "create", "read", "write", "pwrite", "fsync", "rename", "link", "unlink", "mkdir",
    "rmdir", "truncate", "close",
)  # fmt: skip
"""As `inject.c` numbers them."""
EXITS, SHORT = -1, -2
FAULTS = {
    "EIO": errno.EIO,
    "EMFILE": errno.EMFILE,
    "ENOSPC": errno.ENOSPC,
    "EDQUOT": errno.EDQUOT,
    "short": SHORT,
    "exit": EXITS,
}
EXITED = 137
_SOURCE = Path(__file__).with_name("faults") / "inject.c"
_LOADED = (
    "avpipe.pipeline.cli", "avpipe.cache.verify", "avpipe.train.loop",
    "avpipe.train.score.evaluate",
    "avpipe.train.runs.export", "avpipe.pipeline.localize.files", "avpipe.pipeline.scoring",
    "avpipe.stages.embed.run", "avpipe.stages.neighbors.run", "avpipe.pipeline.pages.cards.run",
    "avpipe.train.benchmarks.synth", "h5py", "safetensors.torch", "matplotlib.backends.backend_agg",
    "torch._dynamo", "pydantic", "PIL.PngImagePlugin", "PIL.JpegImagePlugin",
    "tensorboard.summary.writer.record_writer", "tensorboard.compat.proto.event_pb2",
)  # fmt: skip
"""What commands import: without it the first call of each would take seconds."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Its exit code.
        stderr: What it told.
        calls: How many calls were counted.
        hit: The call that failed, `rename /a/b`; "" if none did.
    """

    code: int
    stderr: str
    calls: int
    hit: str

    def problem(self) -> str:
        """Say what is wrong with such an end; "" if it is as a user may expect it."""
        errors = [line for line in self.stderr.splitlines() if line.startswith("avpipe: error:")]
        if "Traceback" in self.stderr or "Exception ignored" in self.stderr:
            return "a traceback"
        if self.code not in (0, 4, 5, 7, EXITED):
            return f"exit code {self.code}"
        if len(errors) != (self.code not in (0, EXITED)):
            return f"{len(errors)} lines of error with exit code {self.code}"
        return ""


def compiler() -> str | None:
    """Return a C compiler, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class Injector:
    """Runs commands in processes of their own; a context manager."""

    def __init__(self, folder: Path, below: Path) -> None:
        """Compile the library.

        Args:
            folder: Where the library and what commands print go.
            below: Calls on files below this folder are counted and fail.
        """
        self._library, self._below, self._folder = folder / "inject.so", below, folder
        words = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE]
        subprocess.run([*map(str, words), "-ldl"], check=True)

    def __enter__(self) -> Injector:
        """Start the server."""
        environment = {**os.environ, "LD_PRELOAD": str(self._library), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, str(self._library), str(self._folder)]
        self._server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
    ) -> Outcome:
        """Run `avpipe` with those arguments.

        Args:
            arguments: Of the command line.
            at: Number of the call that fails; 0 for none.
            error: The error's number, `EXITS` or `SHORT`.
            kinds: Calls of these kinds are counted.
            sticky: All calls behind it fail, too.
        """
        bits = sum(1 << KINDS.index(kind) for kind in kinds)
        asked = [[*map(str, arguments)], str(self._below), bits, at, error, int(sticky)]
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return Outcome(**json.loads(self._server.stdout.readline()))


def serve(library: Any, folder: Path, limit_s: int = 1200) -> None:
    """Run what standard input asks for, a line each; answer with a line each."""
    library.injected_at.restype = ctypes.c_char_p
    for text in sys.stdin:
        arguments, below, *how = json.loads(text)
        pid = os.fork()
        if pid == 0:
            signal.alarm(limit_s)
            _become(library, folder, arguments, below, how)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        calls, hit = library.injected(), os.fsdecode(library.injected_at())
        stderr = (folder / "stderr").read_text(errors="replace")
        answer = {"code": code, "stderr": stderr, "calls": calls, "hit": hit}
        print(json.dumps(answer), flush=True)


def _become(library: Any, folder: Path, arguments: list[str], below: str, how: list[int]) -> None:
    """Run the command as a process of its own would, to its very end."""
    from avpipe.pipeline.main import main

    for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    code = 1
    library.inject(os.fsencode(below), *how)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    for module in _LOADED:
        __import__(module)
    gc.freeze()  # forks share what is loaded: no collection of theirs touches it
    serve(ctypes.CDLL(sys.argv[1]), Path(sys.argv[2]))
