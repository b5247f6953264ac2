"""Processes that have modules loaded when they start: forks of one that has.

Loading PyTorch takes seconds; a test that kills a command several times would wait for little else.
The forks are processes like any other: they may be killed, and what they print goes to files.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

LIGHT = ("avpipe.pipeline.cli",)
"""What every command loads."""
STORED = (
    *LIGHT, "avpipe.cache.store", "avpipe.cache.verify", "avpipe.pipeline.extract.run",
)  # fmt: skip
"""What commands load that read caches and decode; nothing that learns."""
HEAVY = (
    "avpipe.pipeline.cli", "avpipe.train.loop", "avpipe.train.score.evaluate",
    "avpipe.pipeline.localize.files", "avpipe.pipeline.scoring", "avpipe.stages.embed.run",
    "avpipe.stages.neighbors.run", "avpipe.train.benchmarks.synth",
    "avpipe.stages.teachers.visual.imagenet_resnet18", "matplotlib.backends.backend_agg",
    "torch._dynamo", "tensorboard.summary.writer.record_writer",
    "tensorboard.compat.proto.event_pb2",
)  # fmt: skip


class Processes:
    """Some processes that were started together.

    Attributes:
        pids: Their numbers.
    """

    def __init__(self, server: subprocess.Popen[str], pids: list[int]) -> None:
        """Remember them."""
        self.pids, self._server = pids, server
        self._codes: list[int] | None = None

    def wait(self) -> list[int]:
        """Wait until all have ended; return their exit codes, minus a signal's number."""
        if self._codes is None:
            assert self._server.stdout
            self._codes = json.loads(self._server.stdout.readline())
        return self._codes

    def running(self) -> bool:
        """Whether one of them still runs."""
        if self._codes is None and select.select([self._server.stdout], [], [], 0)[0]:
            self.wait()
        return self._codes is None

    def send(self, number: int) -> None:
        """Send all of them a signal."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Warm:
    """Starts processes, one group at a time; a context manager."""

    def __init__(self, modules: Sequence[str] = HEAVY) -> None:
        """Say what they have loaded."""
        self._modules = modules

    def __enter__(self) -> Self:
        """Start the process that is forked."""
        command = [sys.executable, __file__, *self._modules]
        self._last: Processes | None = None
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._end_last()
        self._server.communicate()

    def _end_last(self) -> None:
        """End what a test that failed left running."""
        if self._last and self._last.running():
            self._last.send(signal.SIGKILL)
            self._last.wait()

    def start(
        self,
        program: str,
        arguments: Sequence[str | Path] = (),
        *,
        log: Path | None = None,
        environments: Sequence[Mapping[str, str]] = ({},),
    ) -> Processes:
        """Run a program in processes of its own, in the current folder, with the variables of now.

        Args:
            program: What they run; `sys.argv[1:]` are the arguments.
            arguments: Of the command line.
            log: Where they print; None for nowhere.
            environments: A process for each, with these variables too.
        """
        self._end_last()
        variables = [{**os.environ, **more} for more in environments]
        words = [*map(str, arguments)]
        asked = [program, words, str(log or os.devnull), str(Path.cwd()), variables]
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        self._last = Processes(self._server, json.loads(self._server.stdout.readline()))
        return self._last

    def command(self, *arguments: str | Path, log: Path | None = None) -> Processes:
        """Run `avpipe` with those arguments."""
        return self.start("from avpipe.__main__ import main\nmain()", arguments, log=log)


def _become(
    program: str, arguments: list[str], log: str, folder: str, variables: Mapping[str, str]
) -> NoReturn:
    """Run the program as a process of its own would, to its very end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["avpipe", *arguments]
    code: object = 0
    try:
        exec(program, {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    leave(code)


def leave(code: object) -> NoReturn:
    """End as Python does, but for taking apart what is loaded: of PyTorch that takes a second."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def serve() -> None:
    """Start what standard input asks for, a line each; answer with the pids, then the codes."""
    for text in sys.stdin:
        *asked, environments = json.loads(text)
        pids = []
        for variables in environments:
            if (pid := os.fork()) == 0:
                _become(*asked, variables)
            pids.append(pid)
        print(json.dumps(pids), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who asked, and for forks
    for module in sys.argv[1:]:
        __import__(module)
    gc.freeze()  # forks share what is loaded: no collection of theirs touches it
    serve()
