"""Which files were opened below a folder, by inotify: whoever opens one, in Python or in C."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_OPEN, _CREATE, _DELETE, _MOVED = 0x20, 0x100, 0x200, 0xC0
_NONBLOCK = 0x800


class Opened:
    """Tells which names of a folder were opened, created, moved or removed since it was asked."""

    def __init__(self, folder: Path) -> None:
        """Begin to watch.

        Raises:
            OSError: This system does not tell.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        wanted = _OPEN | _CREATE | _DELETE | _MOVED
        if libc.inotify_add_watch(self._fd, os.fsencode(folder), wanted) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(folder))

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._fd)

    def names(self) -> set[str]:
        """Return the names touched since the last call; "" for the folder itself."""
        found = set()
        while True:
            try:
                told = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(told):
                _, _, _, length = _HEAD.unpack_from(told, at)
                at += _HEAD.size
                found.add(os.fsdecode(told[at : at + length].rstrip(b"\0")))
                at += length
