"""DETR-R50's encoder memory: the visual hint after self-attention over the frame's cells.

Yaghoubi et al. (2023) write that the visual hint comes from the transformer; it has 256 channels
there, so a student needs a projection of that size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ....weights import Weights
from ..nets.detr import CELLS, FILES, PARAMS, build_network, prepare
from ..protocol import Network

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CELLS", "COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "frame"
COLUMNS = {"value": ("<f2", (256, 7, 7))}


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 224, 224, 3)` uint8 -> `value` `(B, 256, 7, 7)` float16.

    Raises:
        MissingDependencyError: If the folder does not hold a DETR without timm.
    """
    return build_network(_output, weights, device)


def _output(model: Any, frames: Tensor) -> dict[str, Tensor]:
    memory = model.model(frames).encoder_last_hidden_state  # (B, 49, 256), row by row
    return {"value": memory.transpose(1, 2).unflatten(2, (7, 7)).half()}
