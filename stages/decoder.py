"""Clips are decoded in a child process: a crash, a hang or a leak there costs one clip and no run.

`DecoderChild` is the parent's side, `python -m avpipe.stages.decoder` the child. They exchange
messages over the child's standard streams.
"""

from __future__ import annotations

import contextlib
import ctypes
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, cast

from ..errors import AvpipeError, ClipError, MissingDependencyError, Reason
from .messages import receive, send

if TYPE_CHECKING:
    from .features import FeatureParams, Row

MEMORY_BYTES = 2 << 30
TIMEOUT_S = 60.0

_START_TIMEOUT_S = 120.0
_PIPE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1
_COMMAND = (sys.executable, "-m", "avpipe.stages.decoder")
_ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",  # a file `numpy.py` in the current folder is nobody's numpy
    "OMP_NUM_THREADS": "1",
    # On many cores the buffers of OpenBLAS alone would fill the address space allowed.
    "OPENBLAS_NUM_THREADS": "1",
    # glibc keeps and reuses the few megabytes each clip needs: no page faults, no fragments.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
_BEFORE_REJECTION = (Reason.MISSING, Reason.IO_ERROR, Reason.EMPTY, Reason.NOT_MEDIA)


class DecoderChild:
    """One decoder process, restarted whenever a clip takes it down.

    For one thread, with which the child dies.
    """

    def __init__(
        self,
        params: FeatureParams,
        *,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """Remember what to run; the process starts with the first clip.

        Args:
            params: What to compute of each clip.
            timeout_s: Wall-clock limit for one clip.
            memory_bytes: Limit of the child's address space.
            command: The child's command line.
        """
        self._hello = {
            "params": asdict(params),
            "memory_bytes": memory_bytes,
        }
        self._timeout_s = timeout_s
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DecoderChild:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if it runs."""
        return self._process.pid if self._process else None

    def row(self, line: Mapping[str, Any]) -> Row:
        """Decode one clip and compute what the cache stores of it.

        Args:
            line: `path` (absolute) and, where they apply, `audio_path`, `start_s`, `seconds`, and
                `reject`: a reason known beforehand, which gives way to missing, io_error, empty
                and not_media. Other keys are ignored.

        Raises:
            ClipError: The clip cannot be used; timeout, oom and crashed included.
            AvpipeError: The child cannot run at all.
        """
        row = self._ask({"do": "row", **line})
        row["frame_hw"], row["valid_cols"] = tuple(row["frame_hw"]), tuple(row["valid_cols"])
        return cast("Row", row)

    def duration(self, path: str) -> float:
        """Return the length of a file's video in seconds.

        Raises:
            ClipError: The file cannot be opened or has no video; timeout, oom and crashed included.
            AvpipeError: The child cannot run at all.
        """
        return cast("float", self._ask({"do": "duration", "path": path})["duration_s"])

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

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer, or raise the error it tells of."""
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
        """Return the child, started if need be; one that is killed while it starts, once more."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        problem = self._start()
        if problem:
            problem = self._start()
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


def _taken(process: subprocess.Popen[bytes], request: Mapping[str, Any], deadline: float) -> bool:
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


def main() -> None:
    """Be the child: answer requests until standard input ends."""
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

    from .features import FeatureParams

    params = FeatureParams(**hello["params"])
    send(answers, {"ready": True})
    with contextlib.suppress(EOFError, BrokenPipeError):
        for number in itertools.count(1):
            request = receive(requests)
            send(answers, {"taken": True})
            send(answers, _answer(request, params))
            del request
            gc.collect()  # PyAV's containers are cycles that hold megabytes, Python counts objects
            if number == 1:
                gc.freeze()  # what the first clip imported stays: leave it out of every collection


def _answer(request: Mapping[str, Any], params: FeatureParams) -> Mapping[str, Any]:
    """Return the row or the duration asked for, or what prevents it."""
    from . import features, media, media_open

    path = request["path"]
    try:
        if request["do"] == "duration":
            return {"duration_s": media.probe_duration(path)}
        if request.get("reject"):
            try:
                media_open.check_media(path)
            except ClipError as error:
                if error.reason in _BEFORE_REJECTION:
                    raise
            raise ClipError(request["reject"])
        return features.make_row(
            path,
            start_s=request.get("start_s"),
            seconds=request.get("seconds"),
            audio_path=request.get("audio_path"),
            params=params,
        )
    except ClipError as error:
        return {"reason": str(error.reason), "detail": error.detail}
    except MemoryError:
        return {"reason": str(Reason.OOM), "detail": ""}
    except MissingDependencyError as error:
        return {"missing_dependency": str(error)}
    except Exception as error:
        return {"reason": str(Reason.CRASHED), "detail": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
