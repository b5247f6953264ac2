"""What both PANNs teachers share: 3 s around the frame in, embedding and five best tags out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....cache.schema import AUDIO_RATE_HZ
from ....weights import Weights, load_exact, read_checkpoint, section
from ..protocol import Network
from .arrays import as_arrays
from .audioset import TAG_COLUMNS, best_tags
from .windows import centre_window

if TYPE_CHECKING:
    from .cnn14 import Cnn14

SECONDS = 3.0
COLUMNS = {"value": ("<f4", (2048,)), **TAG_COLUMNS}
PARAMS = {"seconds": SECONDS}


def prepare(waveform: NDArray[np.int16], frame_sample: int) -> NDArray[np.float32]:
    """Return the centre 3 s, `(96000,)` float32 at 32 kHz; 300 hops, an even number."""
    return centre_window(waveform, frame_sample, round(SECONDS * AUDIO_RATE_HZ))


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
    model.to(device)

    @torch.inference_mode()
    def network(waveforms: NDArray[Any]) -> dict[str, NDArray[Any]]:
        embedding, scores = model(torch.from_numpy(waveforms).to(device))
        return as_arrays({"value": embedding, **best_tags(scores)})

    return network
