"""A child process that answers requests: a crash, a hang or a leak there costs one request.

`Child` is the parent's side, `serve` the child's. They exchange messages over the child's standard
streams. The child has a limit of memory and dies with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import gc
import io
import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Self, cast

from ...errors import AvpipeError, ClipError, MissingDependencyError, Reason
from ...machine import has_room
from . import TIMEOUT_S as TIMEOUT_S
from .messages import receive, send

MEMORY_BYTES = 2 << 30

Message = Mapping[str, Any]
Answerer = Callable[[Message], Message]
"""From a request to its answer; raises ClipError, MemoryError or MissingDependencyError."""

_START_TIMEOUT_S = 120.0
_PIPE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1
_REFUSED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",  # a file `numpy.py` in the current folder is nobody's numpy
    "OMP_NUM_THREADS": "1",
    # On many cores the buffers of OpenBLAS alone would fill the address space allowed.
    "OPENBLAS_NUM_THREADS": "1",
    # glibc keeps and reuses the few megabytes each clip needs: no page faults, no fragments.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


class Child:
    """One process, restarted whenever a request takes it down.

    For one thread, with which the child dies.
    """

    def __init__(
        self, command: Sequence[str], hello: Message, *, timeout_s: float, memory_bytes: int
    ) -> None:
        """Remember what to run; the process starts with the first request.

        Args:
            command: The child's command line.
            hello: What the child is told first.
            timeout_s: Wall-clock limit for one request.
            memory_bytes: Limit of the child's address space.
        """
        self._hello = {**hello, "memory_bytes": memory_bytes}
        self._timeout_s = timeout_s
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if it runs."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the child and the programs it may have started."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _stdin(process).close()
        _stdout(process).close()

    def ask(self, request: Message) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            ClipError: What the answer tells of; timeout, oom and crashed included.
            AvpipeError: The child cannot run at all.
        """
        process = self._running()
        deadline = time.monotonic() + self._timeout_s
        try:
            if not _taken(process, request, deadline):  # killed while idle: no clip's fault
                self.close()
                process = self._running()
                deadline = time.monotonic() + self._timeout_s
                send(_stdin(process), request)
                receive(_stdout(process), deadline)
            answer = receive(_stdout(process), deadline)
        except TimeoutError:
            self.close()
            raise ClipError(Reason.TIMEOUT, f"no answer within {self._timeout_s:g} s") from None
        except (EOFError, BrokenPipeError):
            self.close()
            raise ClipError(Reason.CRASHED, f"the decoder ended: {_ending(process)}") from None
        except BaseException:  # an interruption must not leave half an answer in the pipe
            self.close()
            raise
        if "missing_dependency" in answer:
            raise MissingDependencyError(answer["missing_dependency"])
        if "reason" in answer:
            if answer["reason"] == Reason.OOM:
                self.close()  # start the next clip with an empty heap
            raise ClipError(answer["reason"], answer["detail"])
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the child, started if need be; one that is killed while it starts, once more.

        Raises:
            OSError: The system has no more files or processes for it.
            AvpipeError: It does not start for another reason.
        """
        if self._process is not None and self._process.poll() is None:
            return self._process
        problem = self._start()
        if problem:
            problem = self._start()
        for number in _REFUSED:
            if os.strerror(number) in problem:
                raise OSError(number, os.strerror(number), "the decoder process")
        if problem or self._process is None:
            raise AvpipeError(f"the decoder process does not start: {problem}")
        return self._process

    def _start(self) -> str:
        """Start the child; return why it did not start, empty if it did."""
        self.close()
        with tempfile.TemporaryFile() as messages:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                bufsize=0,
                start_new_session=True,
                env={**os.environ, **_ENVIRONMENT},
            )
            try:
                send(_stdin(self._process), {**self._hello, "parent": os.getpid()})
                receive(_stdout(self._process), time.monotonic() + _START_TIMEOUT_S)
            except (BrokenPipeError, EOFError, TimeoutError):
                self.close()
                messages.seek(0)
                lines = messages.read().decode(errors="replace").split("\n")
                return next((line for line in reversed(lines) if line.strip()), "no message")
        return ""


def _taken(process: subprocess.Popen[bytes], request: Message, deadline: float) -> bool:
    """Send a request; tell whether the child lived to confirm that it has it."""
    try:
        send(_stdin(process), request)
        receive(_stdout(process), deadline)
    except (EOFError, BrokenPipeError):
        return False
    return True


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", process.stdin)


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", process.stdout)


def _ending(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ended, in words that are the same each time."""
    status = process.wait()
    if status >= 0:
        return f"exit code {status}"
    return signal.Signals(-status).name


def serve(prepare: Callable[[Message], Answerer]) -> None:
    """Be the child: answer requests until standard input ends.

    Args:
        prepare: Called with what the parent tells first; returns what answers requests.
    """
    requests, answers = io.FileIO(os.dup(0), "rb"), io.FileIO(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not end up among the answers
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for pipe in (requests, answers):
            with contextlib.suppress(OSError):  # the user's share of pipe memory is used up
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    hello = receive(requests)
    if os.getppid() != hello["parent"]:
        return  # it was gone before the kernel knew that we die with it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError):  # not every system limits address space
        resource.setrlimit(resource.RLIMIT_AS, (hello["memory_bytes"],) * 2)

    answerer = prepare(hello)
    send(answers, {"ready": True})
    with contextlib.suppress(EOFError, BrokenPipeError):
        for number in itertools.count(1):
            request = receive(requests)
            send(answers, {"taken": True})
            answer = _answer(request, answerer)
            send(answers, answer)
            has_failed = "reason" in answer
            del request, answer
            gc.collect()  # PyAV's containers are cycles that hold megabytes, Python counts objects
            if has_failed and not has_room(hello["memory_bytes"] // 4):
                return  # what a damaged file leaves taken would be missing to the next
            if number == 1:
                gc.freeze()  # what the first clip imported stays: leave it out of every collection


def _answer(request: Message, answerer: Answerer) -> Message:
    """Return an answer, or what prevents it."""
    try:
        return answerer(request)
    except ClipError as error:
        return {"reason": str(error.reason), "detail": error.detail}
    except MemoryError:
        return {"reason": str(Reason.OOM), "detail": ""}
    except MissingDependencyError as error:
        return {"missing_dependency": str(error)}
    except Exception as error:
        return {"reason": str(Reason.CRASHED), "detail": f"{type(error).__name__}: {error}"}
