"""One worker process for each GPU of a host."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from ...devices import chosen_device, usable_device
from ...errors import UsageError

_held: dict[str, str] = {}
"""The GPU that this process has for itself, by what `--device` says."""


def own_device(name: str) -> str:
    """Return the device of this worker; of several GPUs one that no other process works on.

    A lock in the folder for temporary files says so until this process ends. It is named after the
    GPU itself, as processes may see different ones under the same number.

    Args:
        name: As `--device` has it; `cuda:1` is taken at its word.

    Raises:
        UsageError: The device is not there, or there are more workers than GPUs.
    """
    device = chosen_device(name)
    if device != "cuda":
        return usable_device(name)
    if name not in _held:
        _held[name] = _free_gpu()
    return _held[name]


def num_gpus() -> int:
    """Return how many GPUs this process sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _free_gpu() -> str:
    for number, name in enumerate(_names()):
        if _take(name):
            return usable_device(f"cuda:{number}")
    raise UsageError(
        f"all {num_gpus()} GPUs of this host have a worker: start as many workers as GPUs (--jobs)"
    )


def _names() -> list[str]:
    """Return a name of each GPU that is the same in all processes."""
    import torch

    properties = (torch.cuda.get_device_properties(number) for number in range(num_gpus()))
    return [str(getattr(one, "uuid", number)) for number, one in enumerate(properties)]


def _take(name: str) -> bool:
    """Hold a GPU's lock until this process ends, if nobody has it."""
    path = Path(tempfile.gettempdir()) / f"avpipe-{os.getuid()}-gpu-{name}.lock"
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return False
    return True
