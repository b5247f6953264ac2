"""A tiny clip that every decoder must be able to decode: what fails on it is no clip's fault."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

_RATE_HZ = 8000
_FPS = 25


def write_made_clip(path: Path) -> Path:
    """Write a second of one grey and silence as AVI with JPEG pictures and 16-bit PCM.

    Args:
        path: The file; its suffix is `.avi`.
    """
    picture = VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), "rgb24")
    samples = np.zeros((1, _RATE_HZ), np.int16)
    with av.open(str(path), "w", format="avi") as container:
        video = container.add_stream("mjpeg", _FPS, options={"threads": "1"})
        video.width, video.height, video.pix_fmt = 32, 32, "yuvj420p"
        audio = container.add_stream("pcm_s16le", _RATE_HZ, layout="mono")
        for number in range(_FPS):
            picture.pts, picture.time_base = number, Fraction(1, _FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        sound = AudioFrame.from_ndarray(samples, "s16", "mono")
        sound.sample_rate = _RATE_HZ
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path
