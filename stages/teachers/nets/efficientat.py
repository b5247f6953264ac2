"""What the EfficientAT teachers share.

MobileNetV3 of several widths, taught by transformers on AudioSet (Schmid et al. 2022). The
embedding is the mean of the last map, what the authors use as features (arXiv 2303.01879); unlike
PANNs' it can be negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ....errors import MissingDependencyError
from ....weights import WeightFile, Weights, load_exact, read_checkpoint
from ..protocol import Network
from .audioset import TAG_COLUMNS, tagging

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_ORIGIN = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"


def released(name: str) -> WeightFile:
    """Return a file of the authors' release; they publish no hashes."""
    return WeightFile(name, f"{_ORIGIN}/{name}")


def columns(num_features: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the columns of a network whose embedding has so many numbers."""
    return {"value": ("<f4", (num_features,)), **TAG_COLUMNS}


def build_network(name: str, weights: Weights, device: str) -> Network:
    """Return `(B, L)` float32 at 32 kHz -> `value` `(B, C)`, `tags` and `tag_scores` `(B, 5)`.

    Tags are numbers of AudioSet's 527 classes, best first.

    Args:
        name: Of the network, for example `mn04`.
        weights: Its file, or a seed.
        device: Where it runs.

    Raises:
        MissingDependencyError: If the file is not that of this network.
    """
    import torch

    from .efficientat_net import WIDTHS, EfficientAT

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed or 0)
        model = EfficientAT(WIDTHS[name]).eval()
    for path in weights.paths:
        state = read_checkpoint(path)
        _refuse_other_width(state, name, path)
        load_exact(model, state, path)
    return tagging(model, device)


def _refuse_other_width(state: Mapping[str, Tensor], name: str, path: Path) -> None:
    """Tell by the head's shape that a file is that of another width, before names are compared.

    Raises:
        MissingDependencyError: It is.
    """
    from .efficientat_net import WIDTHS, head_shape

    given = getattr(state.get("classifier.2.weight"), "shape", None)
    for other, width in WIDTHS.items():
        if other != name and given == head_shape(width):
            raise MissingDependencyError(
                f"{path}: these are the weights of {other} (width {width:g}), this teacher takes "
                f"those of {name} (width {WIDTHS[name]:g}); name its file with --weights"
            )
