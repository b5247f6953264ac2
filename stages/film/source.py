"""The pictures of a clip in the order shown, one after the other, to be drawn over.

All times are seconds from the start of the container, whose clock pictures and sound share.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ...errors import ClipError, Reason
from ..media.container import MAX_PIXELS, is_still, open_media, raise_if_environment
from ..media.moments import SPAN_S, choose_audio, choose_video, find_target
from ..media.packets import (
    further_back,
    is_start,
    packets,
    packets_from_start,
    seek,
    start_s,
    time_base,
)

MAX_RATE_HZ = 30
"""Of what is drawn: of a faster video every second picture, or fewer."""
SHORT_SIDE = 480
"""Larger videos are drawn at this size."""

_MAX_LONG_SIDE = 4096
_LEAST_GAP_S = 0.9 / MAX_RATE_HZ  # time stamps are rounded
_STILL_S = 0.25
_REPEAT_S = 0.1
_LONGEST_STILL_S = 3600.0
_LONGEST_REST_S = 1.0  # sound may outlast the pictures; after more than this the file is cut


@dataclass(frozen=True)
class FilmSource:
    """The open files of a clip; pictures and sound are read apart from each other.

    Attributes:
        container: Of the pictures.
        video: Its chosen stream.
        sound_container: Of the sound, often the same file opened twice.
        audio: Its chosen stream.
        first_s: Where the clip starts.
        last_s: Where it ends; infinity where its last picture does.
        duration_s: How long it says it is.
        network_size: Width and height, before rotation, of the picture that networks see.
        counted: Time stamps mean nothing, see `media.pictures.Pictures`.
    """

    container: InputContainer
    video: VideoStream
    sound_container: InputContainer
    audio: AudioStream
    first_s: float
    last_s: float
    duration_s: float
    network_size: tuple[int, int]
    counted: bool


@dataclass(frozen=True)
class ShownPicture:
    """A picture as stored, and when it is shown."""

    frame: VideoFrame
    time_s: float
    until_s: float


@contextmanager
def open_source(
    path: str,
    *,
    audio_path: str | None = None,
    start_s: float | None = None,
    seconds: float | None = None,
) -> Iterator[FilmSource]:
    """Open a clip; what `decode_clip` refuses is refused here with the same reason.

    Args:
        path: The video file, or a JPEG beside `audio_path`.
        audio_path: Where the sound is, if not in the same file.
        start_s: Where the clip starts inside a longer file; None when it is the whole file.
        seconds: Length of a clip inside a longer file; None for 10 s.

    Raises:
        ClipError: The clip cannot be used.
    """
    with ExitStack() as stack:
        target = find_target(
            stack,
            path,
            start_s=start_s,
            span_s=SPAN_S if seconds is None else seconds,
            audio_path=audio_path,
            max_pixels=MAX_PIXELS,
            wants_size=True,
        )
        still = is_still(target.container)
        span, length_s = target.span, target.duration_s
        counted, size = target.pictures.counted, target.size
    last_s = length_s if still else span.last_s
    png = audio_path is not None
    with (
        open_media(path, MAX_PIXELS, png=png) as container,
        open_media(audio_path or path) as sound,
    ):
        video, audio = choose_video(container), choose_audio(sound)
        yield FilmSource(
            container=container,
            video=video,
            sound_container=sound,
            audio=audio,
            first_s=span.first_s,
            last_s=last_s,
            duration_s=min(length_s, last_s) - span.first_s,
            network_size=size,
            counted=counted,
        )


def drawn_size(video: VideoStream) -> tuple[int, int]:
    """Return the width and height, before rotation, that a video is drawn at: even numbers."""
    codec = video.codec_context
    width = codec.width * (video.sample_aspect_ratio or Fraction(1))
    height = Fraction(codec.height)
    short, long = sorted((width, height))
    scale = min(Fraction(1), SHORT_SIDE / short, _MAX_LONG_SIDE / long)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def drawn_rate_hz(video: VideoStream) -> Fraction:
    """Return about how many pictures a second are drawn."""
    rate = Fraction(video.average_rate or video.guessed_rate or 25)
    return rate / max(1, math.ceil(rate * Fraction(_LEAST_GAP_S))) if rate > 0 else Fraction(25)


def shown_pictures(source: FilmSource) -> Generator[ShownPicture]:
    """Yield what is shown from the clip's start to its end, at most `MAX_RATE_HZ`.

    What stands still for long is repeated ten times a second: what is heard changes meanwhile.

    Raises:
        ClipError: decode_error where there is no picture, or its time stamps are absurd.
    """
    current: tuple[float, VideoFrame] | None = None
    first_s, end_s = source.first_s, source.first_s
    for time_s, length_s, frame in _decoded(source):
        if time_s >= source.last_s:
            break
        end_s = max(end_s, time_s + length_s)
        if current is None or time_s <= first_s:
            current = time_s, frame
        elif time_s - current[0] >= _LEAST_GAP_S:
            yield from _standing(current[1], max(current[0], first_s), time_s)
            current = time_s, frame
    if current is None:
        raise ClipError(Reason.DECODE_ERROR, "none of its pictures can be decoded")
    rest_s = first_s + source.duration_s - end_s
    if not is_still(source.container):
        rest_s = min(rest_s, _LONGEST_REST_S)
    end_s = min(end_s + max(rest_s, 0), source.last_s)
    yield from _standing(current[1], max(current[0], first_s), end_s)


def _standing(frame: VideoFrame, time_s: float, until_s: float) -> Iterator[ShownPicture]:
    """Yield one picture, again and again if it is shown for long."""
    length_s = until_s - time_s
    if length_s > _LONGEST_STILL_S:
        raise ClipError(Reason.DECODE_ERROR, f"no picture for {length_s:.0f} s after {time_s:.3f}")
    if length_s <= _STILL_S:
        yield ShownPicture(frame, time_s, until_s)
        return
    count = math.ceil(length_s / _REPEAT_S)
    for number in range(count):
        first_s = time_s + number * _REPEAT_S
        yield ShownPicture(frame, first_s, min(first_s + _REPEAT_S, until_s))


def _decoded(source: FilmSource) -> Iterator[tuple[float, float, VideoFrame]]:
    """Yield the time, the length in seconds and the picture of all that can be decoded."""
    video, codec = source.video, source.video.codec_context
    codec.thread_count = 1
    base, origin_s = float(time_base(video)), start_s(source.container)
    period_s = 1 / float(video.average_rate or video.guessed_rate or 25)
    from_s = -math.inf if source.counted else source.first_s
    next_s = 0.0
    for packet in chain(packets_from(source.container, video, from_s), (None,)):
        try:
            frames = codec.decode(packet)
        except FFmpegError as error:
            raise_if_environment(source.container.name.removeprefix("file:"), error)
            continue
        for frame in frames:
            said = frame.pts is not None and not source.counted
            time_s = frame.pts * base - origin_s if said else next_s  # type: ignore[operator]
            length_s = frame.duration * base if frame.duration else period_s
            next_s = time_s + (length_s if said else period_s)
            yield time_s, length_s, frame


def packets_from(
    container: InputContainer, stream: VideoStream | AudioStream, from_s: float
) -> Iterator[Packet[Any]]:
    """Yield a stream's packets from a key packet at or before a time.

    Args:
        container: Just opened.
        stream: One of its streams.
        from_s: Seconds from the container's start; nothing is sought for the start itself.
    """
    if from_s <= 0:
        yield from packets(container, stream)
        return
    base = time_base(stream)
    ticks = math.floor((from_s + start_s(container)) / base)
    for back in further_back(base):  # formats that seek roughly: look further back
        if is_start(stream, ticks - back):
            yield from packets_from_start(container, stream)
            return
        seek(container, stream, ticks - back, stream if stream.type == "video" else None)
        found = packets(container, stream)
        first = next(found, None)
        begins = None if first is None else first.pts if first.pts is not None else first.dts
        if first is not None and begins is not None and begins <= ticks:
            yield first
            yield from found
            return
