"""Sound as a WAV file, for pages and for other programs."""

from __future__ import annotations

import io
import wave

import numpy as np
from numpy.typing import NDArray


def wav_bytes(samples: NDArray[np.int16], rate_hz: int) -> bytes:
    """Return mono samples `(n,)` as a WAV file of 16 bits."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()
