"""What both VGGSound encoders share (Chen et al. 2020): a ResNet18 over 10 s of sound, pooled.

They hear 10 s at 16 kHz as a 257 x 1004 log-spectrogram, every clip at mean 0 and deviation 1. The
released files differ by the head they were trained under, H by average pooling and I by NetVLAD;
either head is left out here, and the last map's mean is the embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....cache.schema import AUDIO_RATE_HZ
from ....errors import MissingDependencyError
from ....weights import Weights, load_exact, read_checkpoint, section
from ...spectrogram import FRONT_ENDS, log_spectrogram, resample
from ..protocol import Network
from .arrays import as_arrays
from .resnet18 import HEADS, pooled_resnet18
from .windows import to_float

FRONT_END = FRONT_ENDS["16k-257x1004"]

COLUMNS = {"value": ("<f4", (512,))}
PARAMS = {"spectrogram": FRONT_END.name}
ORIGIN = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/models"
_PREFIX = "audnet."


def prepare(waveform: NDArray[np.int16], frame_sample: int) -> NDArray[np.float32]:
    """Return the `(257, 1004)` float32 spectrogram of the sound, repeated to 10 s, normalised."""
    count = -(-len(waveform) * FRONT_END.rate_hz // AUDIO_RATE_HZ)
    sound = resample(to_float(waveform), AUDIO_RATE_HZ, FRONT_END.rate_hz, count)
    sound = np.clip(np.resize(sound, FRONT_END.window_samples), -1, 1)
    # in float64: the rounding error of a float32 mean, over 1e-9, would make silence loud
    spectrogram = log_spectrogram(sound, FRONT_END.name).astype(np.float64)
    spectrogram -= spectrogram.mean()
    spectrogram /= spectrogram.std() + 1e-9
    return spectrogram.astype(np.float32)


def build_network(weights: Weights, device: str) -> Network:
    """Return `(B, 257, 1004)` float32 -> `value` `(B, 512)` float32, the last map's mean.

    Raises:
        MissingDependencyError: If the file is not that of a VGGSound ResNet18.
    """
    import torch

    encoder = pooled_resnet18(1, weights.seed or 0)
    for path in weights.paths:
        state = section(read_checkpoint(path), "model_state_dict", path)
        if foreign := sorted(name for name in state if not name.startswith(_PREFIX)):
            raise MissingDependencyError(f"{path}: {foreign[0]} does not begin with {_PREFIX!r}")
        own = {name.removeprefix(_PREFIX): value for name, value in state.items()}
        load_exact(encoder, own, path, ignore=HEADS)
    encoder.to(device)

    @torch.inference_mode()
    def network(spectrograms: NDArray[Any]) -> dict[str, NDArray[Any]]:
        batch = torch.from_numpy(spectrograms).to(device)[:, None]
        return as_arrays({"value": encoder(batch)})

    return network
