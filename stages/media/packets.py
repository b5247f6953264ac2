"""Walking the packets of a file's streams, and going to a place in them."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from .container import open_media, raise_if_environment

_BEFORE_START_S = 10
_LARGEST = 2**63 - 1
_START_SLACK_S = 0.1  # first packets stray this far from the start that a stream says


def start_s(container: InputContainer) -> float:
    """Return where the container's clock starts, in the seconds of its time stamps."""
    return (container.start_time or 0) / av.time_base


def time_base(stream: VideoStream | AudioStream) -> Fraction:
    """Return the length in seconds of one tick of the stream's time stamps."""
    return stream.time_base or Fraction(1, av.time_base)


def picture_period(stream: VideoStream) -> Fraction:
    """Return how many ticks a picture is shown for whose packet does not say so."""
    return 1 / (stream.average_rate or stream.guessed_rate or Fraction(25)) / time_base(stream)


def packets(container: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    """Yield the packets of these streams from here to the end of what can be read, no others."""
    wanted = {stream.index for stream in streams}
    for other in container.streams:
        other.discard = Discard.default if other.index in wanted else Discard.all
    found = cast("Generator[Packet[Any], None, None]", container.demux(*streams))
    try:
        for packet in found:
            if packet.size:
                yield packet
    except FFmpegError as error:  # a cut file ends like this in some formats
        raise_if_environment(container.name.removeprefix("file:"), error)
    except IndexError:  # PyAV, at the end of a file in which streams appeared late
        return
    finally:
        found.close()  # PyAV loses a packet's memory when it is only forgotten


def seek(
    container: InputContainer,
    stream: VideoStream | AudioStream,
    ticks: int,
    guide: VideoStream | AudioStream | None,
) -> None:
    """Go to the last key packet at or before a time stamp, or to the start if that fails.

    Args:
        container: The open file.
        stream: The stream whose time stamp it is.
        ticks: The time stamp.
        guide: The stream whose key packet is meant; None for the one the format finds easiest.
    """
    for other in container.streams:
        other.discard = Discard.default
    if is_start(stream, ticks):  # first time stamps of decoding lie before those of showing
        ticks -= round(_BEFORE_START_S / time_base(stream))
    try:
        if guide is None:
            container.seek(_int64(ticks * time_base(stream) * av.time_base))
        else:
            container.seek(_int64(ticks * time_base(stream) / time_base(guide)), stream=guide)
    except FFmpegError as error:
        raise_if_environment(container.name.removeprefix("file:"), error)
        _rewind(container)


def _int64(time: Fraction) -> int:
    """Return a time stamp rounded down, as FFmpeg can take it: damaged files name absurd ones."""
    return min(max(math.floor(time), -_LARGEST), _LARGEST)


def _rewind(container: InputContainer) -> None:
    """Go to the start by bytes, or by the index of AVI.

    AVI stores no times: FFmpeg counts what it read, and only its index takes the count back.
    """
    if container.format.name == "avi":
        first = container.streams[0]
        with suppress(FFmpegError):
            container.seek(first.start_time or 0, stream=first, any_frame=True)
            return
    container.seek(0, unsupported_byte_offset=True)


def is_start(stream: VideoStream | AudioStream, ticks: int) -> bool:
    """Tell whether a time stamp lies before the stream starts."""
    return ticks < (stream.start_time or 0)


def further_back(base: Fraction) -> Iterator[int]:
    """Yield, without end, how many ticks to look back further each time: 0, a second, 2, 4, ...

    Args:
        base: Length in seconds of a tick, which may be several seconds.
    """
    back = 0
    while True:
        yield back
        back = max(2 * back, math.ceil(1 / base))


def packets_from_start(
    container: InputContainer, stream: VideoStream | AudioStream
) -> Generator[Packet[Any]]:
    """Yield one stream's packets from the first of the file, which is opened again.

    Seeks to the start land elsewhere in some files; this cannot.
    """
    with open_media(container.name.removeprefix("file:")) as again:
        same = cast("VideoStream | AudioStream", again.streams[stream.index])
        yield from packets(again, same)


def begins_late(stream: VideoStream | AudioStream, packet: Packet[Any]) -> bool:
    """Tell whether the first packet met after a seek to the start lies behind the start."""
    stamps = [stamp for stamp in (packet.pts, packet.dts) if stamp is not None]
    start = (stream.start_time or 0) + math.ceil(_START_SLACK_S / time_base(stream))
    return not stamps or min(stamps) > start
