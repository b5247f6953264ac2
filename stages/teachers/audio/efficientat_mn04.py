"""EfficientAT's mn04 (Schmid et al. 2022): 983,599 parameters, mAP .432."""

from __future__ import annotations

from ....weights import Weights
from ..nets.audioset import PARAMS, prepare
from ..nets.efficientat import build_network, columns, released
from ..protocol import Network

__all__ = ["COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "waveform"
COLUMNS = columns(384)
FILES = (released("mn04_as_mAP_432.pt"),)


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 96000)` float32 -> `value` `(B, 384)` and five tags.

    Raises:
        MissingDependencyError: If the file is not that of this network.
    """
    return build_network("mn04", weights, device)
