"""torchvision's ImageNet ResNet18, pooled: the neighbour search of multi-positive alignment."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ....weights import WeightFile, Weights, load_exact, read_checkpoint
from ..nets.arrays import as_arrays
from ..nets.images import PARAMS as PARAMS
from ..nets.images import normalized
from ..nets.images import squash as prepare
from ..nets.resnet18 import HEADS, pooled_resnet18
from ..protocol import Network

__all__ = ["COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "frame"
COLUMNS = {"value": ("<f4", (512,))}
FILES = (
    WeightFile(
        "resnet18-f37072fd.pth",
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "sha256:f37072fd",  # how it begins; the name says so
    ),
)


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 224, 224, 3)` uint8 -> `value` `(B, 512)` float32, the last map's mean.

    Raises:
        MissingDependencyError: If the file is not that of a ResNet18.
    """
    import torch

    encoder = pooled_resnet18(3, weights.seed or 0)
    for path in weights.paths:
        load_exact(encoder, read_checkpoint(path), path, ignore=HEADS)
    encoder.to(device)

    @torch.inference_mode()
    def network(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return as_arrays({"value": encoder(normalized(frames, device))})

    return network
