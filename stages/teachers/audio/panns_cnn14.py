"""PANNs' Cnn14 (Kong et al. 2020)."""

from __future__ import annotations

from ....weights import WeightFile, Weights
from ..nets.audioset import PARAMS, prepare
from ..nets.panns import COLUMNS, build_network
from ..protocol import Network

__all__ = ["COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "waveform"
FILES = (
    WeightFile(
        "Cnn14_mAP=0.431.pth",
        "https://zenodo.org/records/3987831/files/Cnn14_mAP%3D0.431.pth?download=1",
        "md5:541141fa2ee191a88f24a3219fff024e",
    ),
)


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 96000)` float32 -> `value` `(B, 2048)` and five tags.

    Raises:
        MissingDependencyError: If the file is not that of this network.
    """
    from ..nets.cnn14 import Cnn14

    return build_network(Cnn14, weights, device)
