"""Teachers that tag sounds with AudioSet's 527 classes: 3 s in, an embedding and five tags out.

`audioset_classes.csv` is the table `class_labels_indices.csv` of AudioSet (Gemmeke et al. 2017,
research.google.com/audioset), byte for byte; its authors publish it under CC BY 4.0. PANNs and
EfficientAT number their classes in its order.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....cache.schema import AUDIO_RATE_HZ
from ..protocol import Network
from .arrays import as_arrays
from .windows import centre_window

if TYPE_CHECKING:
    from torch import Tensor, nn

SECONDS = 3.0
PARAMS = {"seconds": SECONDS}

NUM_CLASSES = 527
NUM_TAGS = 5
TAG_COLUMNS = {"tags": ("<i2", (NUM_TAGS,)), "tag_scores": ("<f4", (NUM_TAGS,))}
NAMES_FILE = Path(__file__).with_name("audioset_classes.csv")


def prepare(waveform: NDArray[np.int16], frame_sample: int) -> NDArray[np.float32]:
    """Return the centre 3 s, `(96000,)` float32 at 32 kHz; shorter sound is repeated."""
    return centre_window(waveform, frame_sample, round(SECONDS * AUDIO_RATE_HZ))


def tagging(model: nn.Module, device: str) -> Network:
    """Return `(B, L)` float32 at 32 kHz -> `value` `(B, C)`, `tags` and `tag_scores` `(B, 5)`.

    Args:
        model: Of sounds `(B, L)`, it gives embeddings `(B, C)` and scores `(B, 527)`.
        device: Where it runs.
    """
    import torch

    model.to(device)

    @torch.inference_mode()
    def network(waveforms: NDArray[Any]) -> dict[str, NDArray[Any]]:
        embedding, scores = model(torch.from_numpy(waveforms).to(device))
        return as_arrays({"value": embedding, **best_tags(scores)})

    return network


def best_tags(scores: Tensor) -> dict[str, Tensor]:
    """Return `tags` and `tag_scores`, `(B, 5)`, best first, of `(B, 527)` scores in [0, 1]."""
    best, tags = scores.sort(dim=1, descending=True, stable=True)
    return {"tags": tags[:, :NUM_TAGS], "tag_scores": best[:, :NUM_TAGS]}


def read_names(path: Path = NAMES_FILE) -> dict[int, str]:
    """Read the names of classes by number: columns `index` and `display_name`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such table, or does not name 527 classes numbered from 0.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            names = {int(line["index"]): line["display_name"] for line in csv.DictReader(file)}
        except (KeyError, TypeError, csv.Error) as error:
            raise ValueError("no columns index, display_name") from error
    if sorted(names) != list(range(NUM_CLASSES)):
        raise ValueError(f"names {len(names)} classes instead of {NUM_CLASSES}, numbered from 0")
    return names
