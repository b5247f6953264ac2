"""`python -m avpipe.pipeline.doctor.probe` imports packages, in a process that may crash.

It prints a JSON line before and after each import, so that the parent knows which one ended it.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from typing import Any

from ...stages.neighbors.faiss_kernel import load_faiss, products_of


def main(modules: list[str]) -> None:
    """Import modules one after the other; say of each how it went.

    Of torch also what it sees, of FAISS what multiplies.
    """
    for module in modules:
        _tell(module=module)
        try:
            seen: dict[str, Any] = {}
            if module == "faiss":
                seen = {"products": products_of(load_faiss())}
            elif importlib.import_module(module).__name__ == "torch":
                seen = {"cuda": look_at_cuda()}
        except BaseException as error:  # a package may raise whatever it likes, SystemExit too
            _tell(module=module, error=" ".join(f"{type(error).__name__}: {error}".split()))
        else:
            _tell(module=module, error="", **seen)


def look_at_cuda() -> dict[str, Any]:
    """Say which GPUs torch can compute on, or why it cannot."""
    import torch

    built_for = torch.version.cuda
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            devices = [_try_device(number) for number in range(torch.cuda.device_count())]
            usable, error = torch.cuda.is_available(), ""
        except Exception as caught:  # a driver that is too old, a card torch has no code for
            devices, usable, error = [], False, str(caught).strip().partition("\n")[0]
    reasons = [error, *(str(one.message).strip().partition("\n")[0] for one in said)]
    return {
        "built_for": built_for,
        "usable": usable,
        "devices": devices,
        "why_not": next(filter(None, reasons), ""),
    }


def _try_device(number: int) -> dict[str, Any]:
    """Multiply on a GPU and name it."""
    import torch

    ones = torch.ones(64, 64, device=f"cuda:{number}")
    if float((ones @ ones).sum()) != 64**3:
        raise RuntimeError(f"GPU {number} gives wrong products")
    found = torch.cuda.get_device_properties(number)
    return {"name": found.name, "bytes": found.total_memory}


def _tell(**content: object) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
