"""One clip's picture and sound, with the decoder of one's choice."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ...cache.defaults import DECODER
from ...errors import ClipError, Reason
from . import moments
from .container import MAX_PIXELS, open_media
from .length import duration_s
from .moments import SPAN_S
from .mono import MIN_SOUND_S, OWN_SOUND_S, SoundWindow

_FILES = (Path(__file__).parent / "decoders").glob("[a-z]*.py")
DECODERS = tuple(sorted(path.stem.replace("_", "-") for path in _FILES))
"""Named as their files. `pyav` carries its own FFmpeg; `ffmpeg` is the program."""


@dataclass(frozen=True)
class Clip:
    """A decoded clip: the picture shown at a moment and the sound around it.

    All times are seconds from the start of the container.

    Attributes:
        frame: (H, W, 3) uint8 RGB, upright, with square pixels and a short side of 256.
        waveform: (L,) float32 mono, the mean of the channels, at the file's own rate; L > 0, at
            most the length asked for.
        rate_hz: Sampling rate of the waveform.
        audio_start_s: Time of waveform[0].
        time_s: The moment: the middle of the clip, or the first picture where that comes later.
        frame_pts_s: When the picture appears; at or before `time_s`.
        duration_s: Length of the whole file's video.
    """

    frame: NDArray[np.uint8]
    waveform: NDArray[np.float32]
    rate_hz: int
    audio_start_s: float
    time_s: float
    frame_pts_s: float
    duration_s: float


def decode_clip(
    path: str,
    *,
    seconds: float = 3.0,
    start_s: float | None = None,
    decoder: str = DECODER,
    span_s: float = SPAN_S,
    audio_path: str | None = None,
    max_pixels: int = MAX_PIXELS,
    key_frame: bool = False,
) -> Clip:
    """Decode the picture in the middle of a clip and the sound around it.

    Args:
        path: The video file, or a JPEG beside `audio_path`.
        seconds: How much sound is wanted, centred on the moment; less is returned where the clip
            has less.
        start_s: Where the clip starts inside a longer file, in seconds; None when the clip is the
            whole file.
        decoder: One of `DECODERS`.
        span_s: Length of a clip inside a longer file.
        audio_path: Where the sound is, if not in the same file; both files start together.
        max_pixels: Larger pictures are refused before anything is allocated for them.
        key_frame: Take the key frame nearest to the middle, where the clip holds one, and the sound
            around it: one picture is decoded instead of all since the last key frame.

    Raises:
        ClipError: The clip cannot be used; `reason` says why.
        MissingDependencyError: `ffmpeg` is wanted and there is none.
        ValueError: The decoder is unknown.
    """
    backend = _backend(decoder)
    with ExitStack() as stack:
        target = moments.find_target(
            stack,
            str(path),
            start_s=start_s,
            span_s=span_s,
            audio_path=None if audio_path is None else str(audio_path),
            max_pixels=max_pixels,
            key_frame=key_frame,
        )
        frame = backend.decode_frame(target)
        first_s = max(target.time_s - seconds / 2, target.span.first_s)
        last_s = min(target.time_s + seconds / 2, target.span.last_s)
        sound = backend.decode_sound(target, first_s, last_s)
        waveform, audio_start_s = sound.waveform()
    _require_sound(sound, target.time_s, seconds)
    return Clip(
        frame=frame,
        waveform=waveform,
        rate_hz=sound.rate_hz,
        audio_start_s=audio_start_s,
        time_s=target.time_s,
        frame_pts_s=target.frame_pts_s,
        duration_s=target.duration_s,
    )


def _require_sound(sound: SoundWindow, time_s: float, seconds: float) -> None:
    """Refuse a moment at which nothing is heard, however much is heard at other times.

    Raises:
        ClipError: no_audio.
    """
    half_s = min(seconds, OWN_SOUND_S) / 2
    held_s = sound.seconds_between(time_s - half_s, time_s + half_s)
    if held_s < min(MIN_SOUND_S, seconds):
        raise ClipError(
            Reason.NO_AUDIO,
            f"{held_s:.3f} s of sound between {max(time_s - half_s, 0):.3f} and "
            f"{time_s + half_s:.3f} s",
        )


def probe_duration(path: str) -> float:
    """Return the length of a file's video in seconds, without decoding.

    Raises:
        ClipError: The file cannot be opened or has no video.
    """
    with open_media(str(path), wants_aspect=False) as container:
        return duration_s(container, moments.choose_video(container))


def decoder_version(decoder: str) -> str:
    """Return a decoder's name and versions, as in a cache's fingerprint.

    Raises:
        MissingDependencyError: `ffmpeg` is wanted and there is none.
        ValueError: The decoder is unknown.
    """
    versions = [_backend(decoder).version(), _backend("pyav").version()]
    return ", ".join(dict.fromkeys(versions))


def _backend(decoder: str) -> ModuleType:
    """Return a decoder's module, with its `version`, `decode_frame` and `decode_sound`."""
    if decoder not in DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}: choose one of {', '.join(DECODERS)}")
    return import_module(f".decoders.{decoder.replace('-', '_')}", __package__)
