"""What Python alone can do of `faults/inject.c`, where there is no C compiler.

An audit hook, which every process forked later has too, refuses calls that Python itself makes:
open, create, rename, link, unlink, mkdir, rmdir and truncate; `os.fsync` is replaced. Not covered:
reads, writes and closes, all calls of libraries in C (h5py's and FFmpeg's files, safetensors), and
programs that are started anew.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
from pathlib import Path
from typing import Any

from injected import EXITED, EXITS, KILLED, KINDS, SHORT

COVERED = ("open", "create", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "truncate")
_EVENTS = {
    "os.rename": ("rename", 1),
    "os.link": ("link", 1),
    "os.symlink": ("link", 1),
    "os.remove": ("unlink", 0),
    "os.mkdir": ("mkdir", 0),
    "os.rmdir": ("rmdir", 0),
    "os.truncate": ("truncate", 0),
    "os.listdir": ("open", 0),
    "os.scandir": ("open", 0),
}
"""Audit event to the kind of call, and which argument names the file."""


class _Shared(ctypes.Structure):
    _fields_ = (("count", ctypes.c_int), ("pid", ctypes.c_int), ("hit", ctypes.c_char * 4096))


def _file_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


class PythonLibrary:
    """Has the functions of the library in C."""

    def __init__(self) -> None:
        """Begin to listen, asleep."""
        memory = mmap.mmap(-1, ctypes.sizeof(_Shared))  # shared with all processes forked later
        self._shared = _Shared.from_buffer(memory)
        self._below, self._kinds, self._at, self._error, self._sticky = "", 0, 0, 0, False
        self._fsync = os.fsync
        sys.addaudithook(self._hear)

    def inject(self, below: bytes, kinds: int, at: int, error: int, sticky: int) -> None:
        """Make the at-th call of those kinds below a folder fail, from now on."""
        self._shared.count, self._shared.pid, self._shared.hit = 0, 0, b""
        self._kinds, self._at, self._error, self._sticky = kinds, at, error, bool(sticky)
        self._below = os.fsdecode(below)
        os.fsync = self._flush

    def injected(self) -> int:
        """Return how many calls were counted."""
        return int(self._shared.count)

    def injected_at(self) -> bytes:
        """Tell which call failed."""
        return bytes(self._shared.hit)

    def injected_in(self) -> int:
        """Tell the process whose call it was."""
        return int(self._shared.pid)

    def _flush(self, fd: Any) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()
        self._judge("fsync", _file_of(number))

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self._below:
            return
        if event == "open":
            path, _, flags = given
            reads = not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            self._judge("open" if reads else "create", path)
        elif event in _EVENTS:
            kind, number = _EVENTS[event]
            self._judge(kind, given[number])

    def _judge(self, kind: str, path: Any) -> None:
        if isinstance(path, int) and path >= 0:
            path = _file_of(path)
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  # resolving would be heard again
        if not (self._kinds >> KINDS.index(kind) & 1) or not (name + "/").startswith(
            self._below + "/"
        ):
            return
        self._shared.count += 1
        number = self._shared.count
        if not self._at or not (number == self._at or (self._sticky and number > self._at)):
            return
        if not self._shared.hit:
            self._shared.hit, self._shared.pid = os.fsencode(f"{kind} {name}"), os.getpid()
        if self._error == EXITS:
            os._exit(EXITED)
        if self._error == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._error != SHORT:
            raise OSError(self._error, os.strerror(self._error), str(Path(name)))
