"""DETR-R50's last backbone map: the visual hint.

Of all that DETR gives, only it has 2048 x 7 x 7 at 224 px (Yaghoubi et al. 2023 distil a target of
that shape).
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
COLUMNS = {"value": ("<f2", (2048, 7, 7))}


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 224, 224, 3)` uint8 -> `value` `(B, 2048, 7, 7)` float16.

    Raises:
        MissingDependencyError: If the folder does not hold a DETR without timm.
    """
    return build_network(_output, weights, device)


def _output(model: Any, frames: Tensor) -> dict[str, Tensor]:
    holder = model.model.backbone  # transformers below 5 keeps the encoder one level deeper
    backbone = getattr(holder, "conv_encoder", holder).model
    return {"value": backbone(frames).feature_maps[-1].half()}
