"""From one clip to what the cache stores of it: JPEG, wide log-spectrogram, sound and flags."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .media import Clip, decode_clip
from .media_open import MAX_PIXELS
from .spectrogram import FRONT_ENDS, SEGMENT, FrontEnd, log_spectrogram, resample

AUDIO_RATE_HZ = 32_000
JPEG_QUALITY = 95
SILENCE_RMS = 1e-3
"""-60 dB of full scale."""

_CONTEXT_S = 0.05  # sound on both sides of a cut that lets the resampler ring before it


@dataclass(frozen=True)
class FeatureParams:
    """Everything that can change a row; part of the cache's fingerprint.

    Attributes:
        spectrogram: A name of `FRONT_ENDS`.
        audio_seconds: How much sound around the frame is kept at 32 kHz.
        decoder: `pyav` or `ffmpeg`.
        max_pixels: Larger pictures are failed `too_large`.
    """

    spectrogram: str = "257x276"
    audio_seconds: float = 10.0
    decoder: str = "pyav"
    max_pixels: int = MAX_PIXELS


class Row(TypedDict):
    """What one done clip becomes.

    Keys:
        frame_jpeg: The frame as JPEG, quality 95.
        frame_hw: Its height and width.
        spectrogram_wide: (257, wide_columns) float16, natural log; the centred window and its
            margins.
        valid_cols: Half-open range of columns computed from the clip's own sound alone.
        frame_pts_s: When the picture appears, in seconds from the container's start.
        duration_s: Length of the file's video.
        silent: The RMS of the centred window is under -60 dB of full scale.
        short: The clip has less sound than the centred window, which holds it tiled.
        waveform: (m,) int16 mono at 32 kHz, untiled.
        frame_sample: Index in `waveform` of the moment the window is centred on; may lie outside
            of it.
    """

    frame_jpeg: bytes
    frame_hw: tuple[int, int]
    spectrogram_wide: NDArray[np.float16]
    valid_cols: tuple[int, int]
    frame_pts_s: float
    duration_s: float
    silent: bool
    short: bool
    waveform: NDArray[np.int16]
    frame_sample: int


def make_row(
    path: str,
    *,
    start_s: float | None = None,
    seconds: float | None = None,
    audio_path: str | None = None,
    params: FeatureParams | None = None,
) -> Row:
    """Decode one clip and compute what the cache stores of it.

    Args:
        path: The video file, or a JPEG beside `audio_path`.
        start_s: Where the clip starts inside a longer file; None when the clip is the whole file.
        seconds: Length of a clip inside a longer file; None for 10 s.
        audio_path: Where the sound is, if not in the same file.
        params: What to compute; the defaults of `FeatureParams` if None.

    Raises:
        ClipError: The clip cannot be used; `reason` says why.
        MissingDependencyError: The decoder wanted is not installed.
    """
    params = params or FeatureParams()
    front_end = FRONT_ENDS[params.spectrogram]
    clip = decode_clip(
        path,
        seconds=max(
            params.audio_seconds, front_end.wide_samples / front_end.rate_hz + 2 * _CONTEXT_S
        ),
        start_s=start_s,
        decoder=params.decoder,
        span_s=10.0 if seconds is None else seconds,
        audio_path=audio_path,
        max_pixels=params.max_pixels,
    )
    short = len(clip.waveform) < front_end.window_s * clip.rate_hz
    if short:
        wide, valid_cols = _tiled(clip, front_end)
    else:
        wide, valid_cols = _centred(clip, front_end)
    begin = front_end.margin * front_end.hop
    window = wide[begin : begin + front_end.window_samples]
    waveform, frame_sample = _audio(clip, params.audio_seconds)
    return Row(
        frame_jpeg=encode_jpeg(clip.frame),
        frame_hw=(clip.frame.shape[0], clip.frame.shape[1]),
        spectrogram_wide=log_spectrogram(wide, front_end.name).astype(np.float16),
        valid_cols=valid_cols,
        frame_pts_s=clip.frame_pts_s,
        duration_s=clip.duration_s,
        silent=bool(np.sqrt(np.dot(window, window) / len(window)) < SILENCE_RMS),
        short=short,
        waveform=waveform,
        frame_sample=frame_sample,
    )


def encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) RGB as JPEG; the same bytes for the same picture and Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _tiled(clip: Clip, front_end: FrontEnd) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Repeat a short clip's sound, from its first sample, through the centred window."""
    length = math.ceil(len(clip.waveform) * front_end.rate_hz / clip.rate_hz)
    sound = resample(clip.waveform, clip.rate_hz, front_end.rate_hz, length)
    wide = np.zeros(front_end.wide_samples, np.float32)
    begin = front_end.margin * front_end.hop
    wide[begin : begin + front_end.window_samples] = np.resize(sound, front_end.window_samples)
    return wide, (front_end.margin, front_end.margin + front_end.num_columns)


def _centred(clip: Clip, front_end: FrontEnd) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Cut the wide window, moved so that its centre has sound throughout; the rest is zero."""
    rate_hz, half_s = front_end.rate_hz, front_end.window_s / 2
    end_s = clip.audio_start_s + len(clip.waveform) / clip.rate_hz
    centre_s = min(max(clip.time_s, clip.audio_start_s + half_s), end_s - half_s)
    wide_s = front_end.wide_samples / rate_hz
    sound, sound_start_s = _cut(clip, centre_s - wide_s / 2, wide_s, rate_hz)
    index = round((sound_start_s - centre_s + wide_s / 2) * rate_hz)
    low, high = max(index, 0), min(index + len(sound), front_end.wide_samples)
    wide = np.zeros(front_end.wide_samples, np.float32)
    wide[low:high] = sound[low - index : high - index]
    first = min(math.ceil(low / front_end.hop), front_end.margin)
    last = max((high - SEGMENT) // front_end.hop + 1, front_end.margin + front_end.num_columns)
    return wide, (first, last)


def _audio(clip: Clip, audio_seconds: float) -> tuple[NDArray[np.int16], int]:
    """Return up to `audio_seconds` around the moment, int16 at 32 kHz, and its index there."""
    begin_s = clip.time_s - audio_seconds / 2
    sound, start_s = _cut(clip, begin_s, audio_seconds, AUDIO_RATE_HZ)
    index = round((start_s - begin_s) * AUDIO_RATE_HZ)
    low = max(-index, 0)
    sound = sound[low : max(round(audio_seconds * AUDIO_RATE_HZ) - index, 0)]
    frame_sample = round((clip.time_s - begin_s) * AUDIO_RATE_HZ) - index - low
    np.clip(sound, -1, 1, out=sound)
    sound *= 32767
    return np.rint(sound, out=sound).astype(np.int16), frame_sample


def _cut(
    clip: Clip, begin_s: float, length_s: float, rate_hz: int
) -> tuple[NDArray[np.float32], float]:
    """Return a part of a clip's sound, and a little around it, resampled; and its start."""
    first = max(math.floor((begin_s - _CONTEXT_S - clip.audio_start_s) * clip.rate_hz), 0)
    last = max(
        math.ceil((begin_s + length_s + _CONTEXT_S - clip.audio_start_s) * clip.rate_hz), first
    )
    part = clip.waveform[first:last]
    sound = resample(part, clip.rate_hz, rate_hz, len(part) * rate_hz // clip.rate_hz)
    return sound, clip.audio_start_s + first / clip.rate_hz
