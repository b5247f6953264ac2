"""What to decode of a clip's file or files, decided without decoding. Both decoders share this.

All times are seconds from the start of the container, whose clock pictures and sound share.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ...errors import ClipError, Reason
from .container import is_still, open_media, refused_picture_size
from .length import duration_s
from .packets import start_s as container_start_s
from .packets import time_base
from .pictures import Pictures, find_pictures, nearest_key

SPAN_S = 10.0
"""Length of a clip that starts inside a longer file, where nobody says another."""
SHORT_SIDE = 256
MIN_SPAN_S = 0.2
MAX_SIDE = 65_500  # of a JPEG


@dataclass(frozen=True)
class Span:
    """The clip's place inside its file.

    Attributes:
        first_s: Nothing before it is read; an edit list may hide sound before zero.
        last_s: Nothing after it is read; infinity for a whole file.
        middle_s: The moment whose picture and sound are wanted.
    """

    first_s: float
    last_s: float
    middle_s: float


@dataclass(frozen=True)
class Target:
    """What a decoder is asked for.

    Attributes:
        container: The open file of the pictures.
        video: Its chosen stream.
        sound_container: The open file of the sound, often the same.
        audio: Its chosen stream.
        span: The clip's place inside the file.
        pictures: The packets of the wanted picture.
        size: Width and height, before rotation, that pictures of the header's size are scaled to.
        max_pixels: Larger pictures are refused.
        header_size: Width and height of the pictures as the file's header says.
        duration_s: Length of the whole file's video.
        frame_pts_s: When the wanted picture appears.
        time_s: The moment the sound is centred on.
    """

    container: InputContainer
    video: VideoStream
    sound_container: InputContainer
    audio: AudioStream
    span: Span
    pictures: Pictures
    size: tuple[int, int]
    max_pixels: int
    header_size: tuple[int, int]
    duration_s: float
    frame_pts_s: float
    time_s: float


def find_target(
    stack: ExitStack,
    path: str,
    *,
    start_s: float | None,
    span_s: float,
    audio_path: str | None,
    max_pixels: int,
    key_frame: bool = False,
    wants_size: bool = False,
) -> Target:
    """Open the file or files and find what is wanted in them.

    Args:
        stack: Closes the files.
        path: The video file, or a JPEG or PNG beside `audio_path`.
        start_s: Where the clip starts inside a longer file; None when the clip is the whole file.
        span_s: Length of a clip inside a longer file.
        audio_path: Where the sound is, if not in the same file.
        max_pixels: Larger pictures are refused.
        key_frame: Take the nearest key frame of the clip, if it has one, for the picture wanted.
        wants_size: Whether `size` has to be right where only the pictures tell the shape of pixels.

    Raises:
        ClipError: Refused; the reasons are tried in the order of their precedence.
    """
    opened = open_media(path, max_pixels, png=audio_path is not None, wants_aspect=wants_size)
    container = stack.enter_context(opened)
    video = choose_video(container)
    sound_container = container
    if audio_path is None:
        audio = choose_audio(container)
    else:
        sound_container, audio = _open_sound(stack, audio_path)
    # a picture is shown for as long as its sound lasts
    still = is_still(container) and audio_path is not None
    length_s = duration_s(sound_container, audio) if still else duration_s(container, video)
    span = place(length_s, start_s, span_s)
    size = header_scaled_size(path, video, max_pixels)
    pictures = find_pictures(container, video, 0.0 if still else span.middle_s)
    _check_decoder(audio)
    time_s = span.middle_s
    if key_frame and not still:
        key = nearest_key(container, video, pictures, (span.first_s, min(span.last_s, length_s)))
        if key is not None:
            pictures = key
            time_s = float(key.pts * time_base(video)) - container_start_s(container)
    frame_pts_s = float(pictures.pts * time_base(video)) - container_start_s(container)
    return Target(
        container=container,
        video=video,
        sound_container=sound_container,
        audio=audio,
        span=span,
        pictures=pictures,
        size=size,
        max_pixels=max_pixels,
        header_size=(video.codec_context.width, video.codec_context.height),
        duration_s=length_s,
        frame_pts_s=frame_pts_s,
        time_s=max(time_s, frame_pts_s),
    )


def _open_sound(stack: ExitStack, path: str) -> tuple[InputContainer, AudioStream]:
    """Open the file of a clip's sound; what is wrong with it is said with its name."""
    try:
        container = stack.enter_context(open_media(path))
        return container, choose_audio(container)
    except ClipError as error:
        detail = error.detail
        if error.reason != Reason.MISSING:  # which names it already
            detail = f"{Path(path).name}: {detail}"
        raise ClipError(error.reason, detail) from None


def choose_video(container: InputContainer) -> VideoStream:
    """Return the first video stream with the default flag, else the first; never cover art.

    Raises:
        ClipError: no_video.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise ClipError(Reason.NO_VIDEO)
    return next((s for s in streams if s.disposition & Disposition.default), streams[0])


def choose_audio(container: InputContainer) -> AudioStream:
    """Return the first audio stream with the default flag, else the first.

    Raises:
        ClipError: no_audio.
    """
    streams = container.streams.audio
    if not streams:
        raise ClipError(Reason.NO_AUDIO)
    return next((s for s in streams if s.disposition & Disposition.default), streams[0])


def place(file_duration_s: float, start_s: float | None, span_s: float) -> Span:
    """Place a clip inside its file.

    Args:
        file_duration_s: Length of the file's video.
        start_s: Where the clip starts inside a longer file; None when the clip is the whole file.
        span_s: Length of a clip inside a longer file, less what the file lacks at its end.

    Raises:
        ClipError: too_short (< 0.2 s), or truncated when the file ends before the clip starts.
    """
    if start_s is not None and start_s >= file_duration_s:
        raise ClipError(Reason.TRUNCATED, f"the video ends at {file_duration_s:.3f} s")
    length_s = file_duration_s if start_s is None else min(span_s, file_duration_s - start_s)
    if length_s < MIN_SPAN_S:
        raise ClipError(Reason.TOO_SHORT, f"{length_s:.3f} s")
    if start_s is None:
        return Span(0.0, math.inf, length_s / 2)
    return Span(start_s, start_s + span_s, start_s + length_s / 2)


def header_scaled_size(path: str, stream: VideoStream, max_pixels: int) -> tuple[int, int]:
    """Return what pictures of the size that the header says are scaled to.

    Raises:
        ClipError: too_large, or decode_error when no size is known.
    """
    _check_decoder(stream)
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > max_pixels:
        raise ClipError(Reason.TOO_LARGE, f"{width} x {height}")
    if not width or not height:
        refused = refused_picture_size(path, max_pixels)
        if refused is not None:
            raise ClipError(Reason.TOO_LARGE, refused)
        raise ClipError(Reason.DECODE_ERROR, "a video stream without a picture size")
    return scaled_size(width, height, stream.sample_aspect_ratio)


def scaled_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the width and height before rotation: square pixels, a short side of 256.

    Args:
        width: Of the picture as stored, in pixels.
        height: The same.
        aspect: Width of a pixel by its height, None or 0 for 1.

    Raises:
        ClipError: too_large: too long and thin for a JPEG.
    """
    shown_width = width * (aspect or Fraction(1))
    scale = SHORT_SIDE / min(shown_width, Fraction(height))
    size = math.floor(shown_width * scale + Fraction(1, 2)), round(height * scale)
    if max(size) > MAX_SIDE:
        raise ClipError(Reason.TOO_LARGE, f"{width} x {height}, shown as {size[0]} x {size[1]}")
    return size


def _check_decoder(stream: VideoStream | AudioStream) -> None:
    if cast("object", stream.codec_context) is None:
        raise ClipError(Reason.DECODE_ERROR, f"no decoder for its {stream.type} stream")
