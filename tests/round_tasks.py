"""Work for `test_rounds`, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from avpipe.errors import InputError


def mark(folder: Path, number: int) -> int:
    """Do task `number`; whose name is in `kill-once` or `kill` dies on it."""
    once = folder / f"kill-once-{number}"
    if once.exists() or (folder / f"kill-{number}").exists():
        once.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / f"refuse-{number}").exists():
        raise InputError(f"task {number} cannot go on")
    (folder / f"done-{number}").touch()
    return number
