"""EfficientAT's mn40, trained longer (Schmid et al. 2022): 68,427,303 parameters, mAP .487."""

from __future__ import annotations

from ....weights import Weights
from ..nets.audioset import PARAMS, prepare
from ..nets.efficientat import build_network, columns, released
from ..protocol import Network

__all__ = ["COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "waveform"
COLUMNS = columns(3840)
FILES = (released("mn40_as_ext_mAP_487.pt"),)


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 96000)` float32 -> `value` `(B, 3840)` and five tags.

    Raises:
        MissingDependencyError: If the file is not that of this network.
    """
    return build_network("mn40", weights, device)
