"""One synthetic clip as the bytes of an MP4 file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
from numpy.typing import NDArray

from .frames import frames
from .scenes import FRAME_RATE_HZ, SIDE_PX, SynthClip
from .timbre import RATE_HZ, waveform
from .world import PICTURE, SOUND, SynthClass

ENCODING = "2"
"""Number of what is set here: another makes other files of the same pictures and sounds."""
_VIDEO_OPTIONS = {
    "preset": "ultrafast",
    "crf": "23",
    # 12 does not divide 30, the middle frame's number: as in real videos, seeking is not enough.
    "x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=0:bframes=2:threads=1",
}
# Noise substitution would make the decoded samples depend on where decoding began.
_AUDIO_OPTIONS = {"b": "96000", "aac_pns": "0", "aac_coder": "fast"}


def encode_clip(clip: SynthClip, world: Sequence[SynthClass], seed: int) -> bytes:
    """Render a clip and encode it: MP4, H.264 256 x 256 at 15 fps, AAC 44.1 kHz, 4 s.

    A clip is a function of its plan, the world, the seed and the versions.
    """
    picture_rng = np.random.default_rng([seed, PICTURE, clip.index])
    sound_rng = np.random.default_rng([seed, SOUND, clip.index])
    samples = waveform(world[clip.sound_class].timbre, sound_rng)
    return encode(frames(clip, world, picture_rng), samples)


def encode(pictures: Iterable[NDArray[np.uint8]], samples: NDArray[np.float32]) -> bytes:
    """Encode 60 pictures and 4 s of sound; one thread, and no dates in the file.

    Args:
        pictures: `(256, 256, 3)` uint8 RGB each.
        samples: `(1 or 2 channels, 176400)` in [-1, 1].
    """
    layout = "mono" if len(samples) == 1 else "stereo"
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE_HZ, options=_VIDEO_OPTIONS)
        video.width, video.height, video.pix_fmt = SIDE_PX, SIDE_PX, "yuv420p"
        video.thread_count = 1
        audio = container.add_stream("aac", rate=RATE_HZ, options=_AUDIO_OPTIONS, layout=layout)
        for frame in pictures:
            container.mux(video.encode(av.VideoFrame.from_numpy_buffer(frame, format="rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        sound.sample_rate, sound.pts = RATE_HZ, 0
        sound.time_base = Fraction(1, RATE_HZ)
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return buffer.getvalue()
