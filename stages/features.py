"""From one clip to what the cache stores of it: JPEG, wide log-spectrogram, sound and flags."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cache.defaults import AUDIO_SECONDS, DECODER, FRAME, KEY_FRAME, SPECTROGRAM
from ..cache.schema import AUDIO_RATE_HZ, FULL_SCALE
from ..errors import ClipError, Reason
from .media import Clip, decode_clip
from .media.container import MAX_PIXELS
from .media.still import unchanged_jpeg
from .row_check import require_sane
from .spectrogram import (
    CONTEXT_S,
    FRONT_ENDS,
    log_spectrogram,
    part_around,
    place_window,
    resample,
    wide_window,
)

JPEG_QUALITY = 95
SILENCE_RMS = 1e-3
"""-60 dB of full scale."""


@dataclass(frozen=True)
class FeatureParams:
    """Everything that can change a row; part of the cache's fingerprint.

    Attributes:
        spectrogram: A name of `FRONT_ENDS`.
        audio_seconds: How much sound around the frame is kept at 32 kHz.
        decoder: `pyav` or `ffmpeg`.
        frame: `middle`, or `keyframe` for the key frame nearest to it.
        max_pixels: Larger pictures are failed `too_large`.
    """

    spectrogram: str = SPECTROGRAM
    audio_seconds: float = AUDIO_SECONDS
    decoder: str = DECODER
    frame: str = FRAME
    max_pixels: int = MAX_PIXELS


class Row(TypedDict):
    """What one done clip becomes.

    Keys:
        frame_jpeg: The frame as JPEG, quality 95; a JPEG file that is the frame as it stands
            keeps its bytes.
        frame_hw: Its height and width.
        spectrogram_wide: (257, wide_columns) float16, natural log; the centred window and its
            margins. Of `16k-mel64` (64, 201) decibels.
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
            params.audio_seconds, front_end.wide_samples / front_end.rate_hz + 2 * CONTEXT_S
        ),
        start_s=start_s,
        decoder=params.decoder,
        span_s=10.0 if seconds is None else seconds,
        audio_path=audio_path,
        max_pixels=params.max_pixels,
        key_frame=params.frame == KEY_FRAME,
    )
    placed = place_window(
        len(clip.waveform),
        clip.rate_hz,
        front_end,
        start_s=clip.audio_start_s,
        time_s=clip.time_s,
    )
    wide = wide_window(clip.waveform, clip.rate_hz, front_end, placed)
    begin = front_end.margin * front_end.hop
    window = wide[begin : begin + front_end.window_samples]
    spectrogram = log_spectrogram(wide, front_end.name)
    _require_finite(wide, spectrogram)
    waveform, frame_sample = _audio(clip, params.audio_seconds)
    kept = None if audio_path is None else unchanged_jpeg(path, clip.frame.shape[:2])
    row = Row(
        frame_jpeg=kept or encode_jpeg(clip.frame),
        frame_hw=(clip.frame.shape[0], clip.frame.shape[1]),
        spectrogram_wide=spectrogram.astype(np.float16),
        valid_cols=placed.valid_cols,
        frame_pts_s=clip.frame_pts_s,
        duration_s=clip.duration_s,
        silent=bool(np.sqrt(np.dot(window, window) / len(window)) < SILENCE_RMS),
        short=placed.tiled,
        waveform=waveform,
        frame_sample=frame_sample,
    )
    require_sane(
        row,
        wide_columns=front_end.wide_columns,
        max_samples=round(params.audio_seconds * AUDIO_RATE_HZ),
        decibels=front_end.mel,
    )
    return row


def _require_finite(*arrays: NDArray[np.float32]) -> None:
    """Refuse sound so loud that resampling it, or its power, overflows.

    Raises:
        ClipError: decode_error.
    """
    if not all(np.isfinite(array).all() for array in arrays):
        raise ClipError(Reason.DECODE_ERROR, "sound too loud to compute with")


def encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) RGB as JPEG; the same bytes for the same picture and Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _audio(clip: Clip, audio_seconds: float) -> tuple[NDArray[np.int16], int]:
    """Return up to `audio_seconds` around the moment, int16 at 32 kHz, and its index there."""
    begin_s = clip.time_s - audio_seconds / 2
    sound, start_s = _cut(clip, begin_s, audio_seconds, AUDIO_RATE_HZ)
    index = round((start_s - begin_s) * AUDIO_RATE_HZ)
    low = max(-index, 0)
    sound = sound[low : max(round(audio_seconds * AUDIO_RATE_HZ) - index, 0)]
    frame_sample = round((clip.time_s - begin_s) * AUDIO_RATE_HZ) - index - low
    _require_finite(sound)
    np.clip(sound, -1, 1, out=sound)
    sound *= FULL_SCALE
    return np.rint(sound, out=sound).astype(np.int16), frame_sample


def _cut(
    clip: Clip, begin_s: float, length_s: float, rate_hz: int
) -> tuple[NDArray[np.float32], float]:
    """Return a part of a clip's sound, and a little around it, resampled; and its start."""
    first, last = part_around(
        len(clip.waveform), clip.rate_hz, clip.audio_start_s, begin_s, length_s
    )
    part = clip.waveform[first:last]
    sound = resample(part, clip.rate_hz, rate_hz, len(part) * rate_hz // clip.rate_hz)
    return sound, clip.audio_start_s + first / clip.rate_hz
