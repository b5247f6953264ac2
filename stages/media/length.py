"""How long a stream is. One rule for all containers: from its own first to its own last packet.

MP4 and AVI say so of each stream. Matroska, FLV and Ogg only say how long the longest stream is,
which may be the sound: their last packets are looked at.
"""

from __future__ import annotations

import math
from contextlib import closing
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from .packets import (
    further_back,
    is_start,
    packets,
    packets_from_start,
    picture_period,
    seek,
    time_base,
)
from .packets import start_s as container_start_s

_SAY_ONE_LENGTH = {"matroska", "flv"}
"""Formats of which FFmpeg takes the file's length for a stream's own where it has to guess."""

_CUT_S = 0.5
"""Where all streams end so long before the file's own length, its end is missing."""


def duration_s(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """Return how long a stream is, or was meant to be where the file was cut.

    What the container says of the stream; else from its start to where its last packet ends; else,
    when no packet of any stream comes near the container's own length, that length: the file lost
    its end, and what is missing there shall not pass unnoticed.

    Args:
        container: The file, just opened.
        stream: One of its streams.

    Returns:
        Seconds; 0 where there is nothing to tell by.
    """
    base, origin_s = time_base(stream), container_start_s(container)
    says_of_each = not set(container.format.name.split(",")) & _SAY_ONE_LENGTH
    if says_of_each and stream.duration is not None and stream.duration > 0:
        return float(stream.duration * base)
    said_s = None
    if container.duration is not None and container.duration > 0:
        said_s = container.duration / av.time_base
        if "matroska" not in container.format.name:  # which counts from zero wherever it starts
            said_s += origin_s
    own_s, last_s = _ends_s(container, stream, said_s)
    if said_s is not None and (own_s is None or last_s < said_s - _CUT_S):
        return max(said_s - origin_s, 0.0)
    # packets of a damaged file may all end before the stream's own start
    return 0.0 if own_s is None else max(own_s - _begin_s(container, stream), 0.0)


def _begin_s(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """Return when a stream starts.

    Matroska's pictures before zero (cut by copying packets) are shown, but have no time stamps:
    they start with the container.
    """
    origin_s = container_start_s(container)
    if stream.start_time is None:
        return origin_s
    if origin_s < 0:
        with closing(packets_from_start(container, stream)) as found:
            first = next(found, None)
        if first is None or first.pts is None:
            return origin_s
    return float(stream.start_time * time_base(stream))


def _ends_s(
    container: InputContainer, stream: VideoStream | AudioStream, said_s: float | None
) -> tuple[float | None, float]:
    """Return where the last packet of a stream ends, and where that of any stream does.

    Args:
        container: The file, just opened.
        stream: The stream; its end is None where no packet of it can be read.
        said_s: Where the file says that it ends; None to read all of it.
    """
    if said_s is None:
        return _read_to_the_end(container, stream)
    ticks = math.floor(said_s / time_base(stream))
    for back in further_back(time_base(stream)):
        seek(container, stream, ticks - back, stream)
        own_s, last_s = _read_to_the_end(container, stream)
        if own_s is not None or is_start(stream, ticks - back):
            break
    return own_s, last_s


def _read_to_the_end(
    container: InputContainer, stream: VideoStream | AudioStream
) -> tuple[float | None, float]:
    """Return the same two times, of what can be read from here on."""
    own_s, last_s = -math.inf, -math.inf
    for packet in packets(container, *container.streams):
        if packet.pts is None or packet.is_discard:
            continue
        own = packet.stream_index == stream.index
        length = packet.duration or (_period(stream) if own else 0)
        end_s = float((packet.pts + length) * packet.time_base)
        last_s = max(last_s, end_s)
        if own:
            own_s = max(own_s, end_s)
    return (None if own_s == -math.inf else own_s), last_s


def _period(stream: VideoStream | AudioStream) -> Fraction:
    """Return how many ticks a packet lasts that does not say so: those of a picture, if one."""
    return picture_period(stream) if isinstance(stream, VideoStream) else Fraction(0)
