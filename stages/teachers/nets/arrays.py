"""What a network gives, as NumPy has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def as_arrays(columns: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Return tensors as arrays; bf16, which NumPy does not know, as float32."""
    import torch

    return {
        name: (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()
        for name, value in columns.items()
    }
