"""EfficientAT's mn10 (Schmid et al. 2022): 4,876,831 parameters, mAP .471."""

from __future__ import annotations

from ....weights import Weights
from ..nets.audioset import PARAMS, prepare
from ..nets.efficientat import build_network, columns, released
from ..protocol import Network

__all__ = ["COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "waveform"
COLUMNS = columns(960)
FILES = (released("mn10_as_mAP_471.pt"),)


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 96000)` float32 -> `value` `(B, 960)` and five tags.

    Raises:
        MissingDependencyError: If the file is not that of this network.
    """
    return build_network("mn10", weights, device)
