"""What the EfficientAT teachers share: 3 s around the frame in, embedding and five best tags out.

MobileNetV3 of several widths, taught by transformers on AudioSet (Schmid et al. 2022). The
embedding is the mean of the last map, what the authors use as features (arXiv 2303.01879); unlike
PANNs' it can be negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....cache.schema import AUDIO_RATE_HZ
from ....errors import MissingDependencyError
from ....weights import WeightFile, Weights, load_exact, read_checkpoint
from ..protocol import Network
from .arrays import as_arrays
from .audioset import TAG_COLUMNS, best_tags
from .windows import centre_window

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SECONDS = 3.0
PARAMS = {"seconds": SECONDS}
_ORIGIN = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"


def released(name: str) -> WeightFile:
    """Return a file of the authors' release; they publish no hashes."""
    return WeightFile(name, f"{_ORIGIN}/{name}")


def columns(num_features: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the columns of a network whose embedding has so many numbers."""
    return {"value": ("<f4", (num_features,)), **TAG_COLUMNS}


def prepare(waveform: NDArray[np.int16], frame_sample: int) -> NDArray[np.float32]:
    """Return the centre 3 s, `(96000,)` float32 at 32 kHz; shorter sound is repeated."""
    return centre_window(waveform, frame_sample, round(SECONDS * AUDIO_RATE_HZ))


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
    model.to(device)

    @torch.inference_mode()
    def network(waveforms: NDArray[Any]) -> dict[str, NDArray[Any]]:
        embedding, scores = model(torch.from_numpy(waveforms).to(device))
        found = {"value": embedding, **best_tags(scores)}
        return as_arrays(found)

    return network


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
