"""What both PANNs teachers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....weights import Weights, load_exact, read_checkpoint, section
from ..protocol import Network
from .audioset import TAG_COLUMNS, tagging

if TYPE_CHECKING:
    from .cnn14 import Cnn14

COLUMNS = {"value": ("<f4", (2048,)), **TAG_COLUMNS}


def build_network(make: type[Cnn14], weights: Weights, device: str) -> Network:
    """Return `(B, L)` float32 at 32 kHz -> `value` `(B, 2048)`, `tags` and `tag_scores` `(B, 5)`.

    Tags are numbers of AudioSet's 527 classes, best first.

    Raises:
        MissingDependencyError: If the file is not that of this network.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed or 0)
        model = make().eval()
    for path in weights.paths:
        load_exact(model, section(read_checkpoint(path), "model", path), path)
    return tagging(model, device)
