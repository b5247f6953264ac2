"""Which device networks run on; `machine.py` has what else this process may use."""

from __future__ import annotations

import os

from .errors import UsageError
from .machine import AUTO

_VARIABLE = "AVPIPE_DEVICE"
_WHY_CHARS = 160


def chosen_device(name: str) -> str:
    """Return which device a name means: `auto` is the GPU where there is one."""
    import torch

    if name == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def usable_device(name: str) -> str:
    """Return the device that a name means, once it has computed something.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`, or what else PyTorch knows.

    Raises:
        UsageError: If this machine or this PyTorch does not have it.
    """
    import torch

    device = chosen_device(name)
    try:
        torch.empty(1, device=device).cpu()  # `meta` makes tensors that hold nothing
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0][:_WHY_CHARS]
        usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        line = f"--device {name} cannot be used here: {why}; use {usable}"
        if os.environ.get(_VARIABLE) == name:
            line = line.replace("--device", f"{_VARIABLE}:", 1)
        raise UsageError(line) from error
    return device
