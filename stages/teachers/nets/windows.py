"""Windows of the 32 kHz sound that the audio shards keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....cache.schema import FULL_SCALE


def to_float(waveform: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return int16 samples as float32 in [-1, 1]."""
    return (waveform / np.float32(FULL_SCALE)).astype(np.float32)


def centre_window(
    waveform: NDArray[np.int16], frame_sample: int, num_samples: int
) -> NDArray[np.float32]:
    """Cut `(num_samples,)` float32 around the frame's time.

    A window that reaches over an end is moved inside; shorter sound is repeated from its start.
    """
    if len(waveform) < num_samples:
        return to_float(np.resize(waveform, num_samples))
    start = min(max(frame_sample - num_samples // 2, 0), len(waveform) - num_samples)
    return to_float(waveform[start : start + num_samples])
