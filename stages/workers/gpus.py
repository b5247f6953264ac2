"""What workers that run networks need of a host: teachers, and a GPU of their own."""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...devices import chosen_device, usable_device
from ...drafts import NO_LOCKS
from ...errors import UsageError
from ..teachers.protocol import load_teacher
from .fitness import Software

_held: dict[str, str] = {}
"""The GPU that this process has for itself, by what `--device` says."""


@dataclass(frozen=True, kw_only=True)
class NetworkSoftware(Software):
    """What the bytes of a stage of networks depend on, beside its inputs.

    Attributes:
        device: What `--device` says.
        teachers: Name and kind of those that run.
    """

    device: str
    teachers: tuple[tuple[str, str], ...] = ()

    def versions(self) -> dict[str, str]:
        """Return what is what in this process."""
        found = super().versions()
        for name, kind in self.teachers:
            found[f"teacher {name}"] = f"version {load_teacher(name, kind).VERSION}"
        return {**found, "device": chosen_device(self.device).partition(":")[0]}

    def require(self) -> None:
        """Check that this process can work with it.

        Raises:
            UsageError: The device is not there.
        """
        usable_device(self.device)


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

    return torch.cuda.device_count()


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
    """Hold a GPU's lock until this process ends, if nobody has it.

    Raises:
        UsageError: The folder has no locks: all workers would take the first GPU.
    """
    path = Path(tempfile.gettempdir()) / f"avpipe-{os.getuid()}-gpu-{name}.lock"
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in NO_LOCKS:
            raise UsageError(
                f"{path} cannot be locked ({error.strerror}): name a folder of this machine with "
                "TMPDIR"
            ) from None
        return False
    return True
