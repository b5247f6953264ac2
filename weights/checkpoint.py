"""How pretrained files are read: never unpickled, and only where names and shapes are exact."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError, require_answer

if TYPE_CHECKING:
    from torch import Tensor, nn

_BEGINNINGS = (b"PK", b"\x80")
"""Of what `torch.save` writes: an archive, or formerly a pickle."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a PyTorch or safetensors file without running anything that is in it.

    Returns:
        What it holds: tensors by name, in a .pth often below a key such as `model`.

    Raises:
        MissingDependencyError: If it is missing, damaged, or more than tensors and plain data.
        OSError: The system refuses to read it now.
    """
    import torch

    _refuse_what_is_none(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        with torch.serialization.safe_globals(_numpy_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle's protocol; what follows is the error
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MissingDependencyError(
            f"{path}: holds more than tensors and was not opened (a pickle can run any program); "
            "save its tensors as safetensors where you trust it"
        ) from error
    except Exception as error:  # the readers have no common error for a damaged file
        require_answer(error, path)
        words = str(error) or type(error).__name__
        why = words.partition("\n")[0].partition(". ")[0][:160]  # what follows is advice
        raise MissingDependencyError(
            f"{path}: cannot be read as a checkpoint, it is damaged or incomplete ({why})"
        ) from error
    if not isinstance(found, dict):
        raise MissingDependencyError(f"{path}: holds a {type(found).__name__}, not named tensors")
    return found


def _refuse_what_is_none(path: Path) -> None:
    """Tell files that are something else by name, before a reader guesses."""
    try:
        with path.open("rb") as file:
            begins = file.read(64)
    except OSError as error:
        require_answer(error, path)
        raise MissingDependencyError(f"{path}: {error.strerror}") from error
    if not begins.strip():
        raise MissingDependencyError(f"{path}: is empty; fetch it again")
    if begins.lstrip().startswith(b"<"):
        raise MissingDependencyError(f"{path}: is a web page, no checkpoint; fetch it again")
    if not begins.startswith(_BEGINNINGS) and begins[8:9] != b"{":  # safetensors: a length, JSON
        raise MissingDependencyError(f"{path}: is no checkpoint of PyTorch or safetensors")


def _numpy_globals() -> list[Any]:
    """Return what rebuilds plain arrays: PANNs keep the sampler's indices beside the model."""
    import numpy as np
    from numpy._core import multiarray

    builders = [
        (getattr(multiarray, function), f"{module}.multiarray.{function}")
        for module in ("numpy.core", "numpy._core")
        for function in ("_reconstruct", "scalar")
    ]
    kinds = {type(np.dtype(kind)) for kind in ("?", "i1", "u1", "i4", "i8", "f4", "f8")}
    return [*builders, np.ndarray, np.dtype, *kinds]


def load_exact(
    module: nn.Module, state: Mapping[str, Tensor], path: Path, *, ignore: tuple[str, ...] = ()
) -> None:
    """Load tensors whose names and shapes are exactly those of the module.

    BatchNorm's `num_batches_tracked` may be absent: files older than it are still in use.

    Args:
        module: The network.
        state: Tensors by name.
        path: Their file, for messages.
        ignore: Beginnings of names that the module does without (a classifier's head).

    Raises:
        MissingDependencyError: One line with the first names that are missing, unknown, of
            another shape or not finite.
    """
    given = {name: value for name, value in state.items() if not name.startswith(ignore or "\0")}
    require_exact(given, module.state_dict(), path, type(module).__name__)
    module.load_state_dict(dict(given), strict=False)


def require_exact(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, network: str
) -> None:
    """See that tensors have the names and shapes that are wanted, and finite values.

    Args:
        given: Tensors by name.
        wanted: What a network has; its `num_batches_tracked` may be absent.
        path: The file of what is given, for messages.
        network: What it should be of, for messages.

    Raises:
        MissingDependencyError: As `load_exact` does.
    """
    shared = sorted(wanted.keys() & given.keys())
    odd = [name for name in shared if not _has_numbers(given[name])]
    plain = [name for name in shared if name not in odd]
    counters = {name for name in wanted if name.endswith(".num_batches_tracked")}
    fitting = [name for name in plain if given[name].shape == wanted[name].shape]
    problems = {
        "lacks": sorted(wanted.keys() - given.keys() - counters),
        "has unknown": sorted(given.keys() - wanted.keys()),
        "has of another shape": sorted(
            f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in plain
            if name not in fitting
        ),
        "has no plain numbers (sparse, quantized, complex, nested or none) in": odd,
        # of others a few bytes may say that they are 2^50 numbers
        "has values that are not finite in": [
            name for name in fitting if not given[name].isfinite().all()
        ],
    }
    told = [
        f"{what} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if names[3:] else "")
        for what, names in problems.items()
        if names
    ]
    if told:
        raise MissingDependencyError(
            f"{path}: not the weights of {network}: {'; '.join(told)}; name another file"
        )


def _has_numbers(tensor: Tensor) -> bool:
    """Whether a tensor holds a real number for each of its elements, in memory."""
    import torch

    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.is_nested or tensor.is_quantized or tensor.is_complex():
        return False
    try:
        tensor[:0].isfinite() if tensor.ndim else tensor.isfinite()
    except (RuntimeError, NotImplementedError):  # of numbers that torch stores and cannot look at
        return False
    return True


def section(checkpoint: Mapping[str, Any], key: str, path: Path) -> dict[str, Tensor]:
    """Return the tensors that lie below `key` of a checkpoint.

    Raises:
        MissingDependencyError: If there is no such key.
    """
    found = checkpoint.get(key)
    if not isinstance(found, dict):
        have = ", ".join(sorted(map(str, checkpoint))[:5])
        raise MissingDependencyError(f"{path}: has no {key!r} (it has {have})")
    return found
