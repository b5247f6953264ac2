"""What to decode of an open file: which streams, which moment, which packets.

Both decoders share this. All times are seconds from the start of the container, whose clock pictures and sound share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from ..errors import ClipError, Reason
from .media_open import raise_if_environment

SHORT_SIDE = 256
MIN_SPAN_S = 0.2
MAX_SIDE = 65_500  # of a JPEG

_CLOCK_SLACK_S = 1e-6  # containers round their start time to microseconds


@dataclass(frozen=True)
class Span:
    """The clip's place inside its file.

    Attributes:
        first_s: Nothing before it is read; minus infinity for a whole file.
        last_s: Nothing after it is read; infinity for a whole file.
        middle_s: The moment whose picture and sound are wanted.
    """

    first_s: float
    last_s: float
    middle_s: float


@dataclass(frozen=True)
class Pictures:
    """Compressed pictures in decoding order, from a key frame to the picture wanted and a few more.

    Attributes:
        packets: The compressed pictures; the wanted one is decodable from those up to `wanted`.
        wanted: Index of the packet of the picture shown at the moment asked for.
        pts: Its time stamp in the stream's time base.
        ticks: The moment asked for, in the same unit.
    """

    packets: list[Packet[VideoStream]]
    wanted: int
    pts: int
    ticks: int


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


def start_s(container: InputContainer) -> float:
    """Return where the container's clock starts, in the seconds of its time stamps."""
    return (container.start_time or 0) / av.time_base


def duration_s(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """Return the stream's duration, else the container's, else where its last packet ends."""
    base = time_base(stream)
    if stream.duration is not None and stream.duration > 0:
        return float(stream.duration * base)
    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    ends = [
        packet.pts + (packet.duration or 0)
        for packet in packets(container, stream)
        if packet.pts is not None
    ]
    return float(max(ends) * base) - start_s(container) if ends else 0.0


def time_base(stream: VideoStream | AudioStream) -> Fraction:
    """Return the length in seconds of one tick of the stream's time stamps."""
    return stream.time_base or Fraction(1, av.time_base)


def span(file_duration_s: float, clip_start_s: float | None, span_s: float) -> Span:
    """Place a clip inside its file.

    Args:
        file_duration_s: Length of the file's video.
        clip_start_s: Where the clip starts inside a longer file; None when the clip is the whole
            file.
        span_s: Length of a clip inside a longer file; what the file lacks at its end is not part
            of the clip.

    Raises:
        ClipError: too_short (< 0.2 s), or truncated when the file ends before the clip starts.
    """
    if clip_start_s is None:
        first_s, last_s, length_s, begin_s = -math.inf, math.inf, file_duration_s, 0.0
    else:
        begin_s = first_s = clip_start_s
        last_s = clip_start_s + span_s
        length_s = min(span_s, file_duration_s - clip_start_s)
        if length_s <= 0:
            raise ClipError(
                Reason.TRUNCATED,
                f"the video ends at {file_duration_s:.3f} s, before the clip starts",
            )
    if length_s < MIN_SPAN_S:
        raise ClipError(Reason.TOO_SHORT, f"{length_s:.3f} s")
    return Span(first_s, last_s, begin_s + length_s / 2)


def scaled_size(stream: VideoStream, max_pixels: int) -> tuple[int, int]:
    """Return the width and height before rotation: square pixels, a short side of 256.

    Raises:
        ClipError: too_large: more than `max_pixels`, or a shape that no JPEG of that short side
        can hold.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > max_pixels:
        raise ClipError(Reason.TOO_LARGE, f"{width} x {height}")
    if not width or not height:
        raise ClipError(Reason.DECODE_ERROR, "a video stream without a picture size")
    aspect = stream.sample_aspect_ratio or Fraction(1)
    shown_width = width * aspect
    scale = SHORT_SIDE / min(shown_width, Fraction(height))
    size = max(1, round(shown_width * scale)), max(1, round(height * scale))
    if max(size) > MAX_SIDE:
        raise ClipError(Reason.TOO_LARGE, f"{width} x {height}, shown as {size[0]} x {size[1]}")
    return size


def packets(container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[Packet]:
    """Yield one stream's packets from here to the end of what can be read, and no others."""
    for other in container.streams:
        other.discard = Discard.default if other.index == stream.index else Discard.all
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except FFmpegError as error:  # a cut file ends like this in some formats
        raise_if_environment(container.name.removeprefix("file:"), error)


def seek(container: InputContainer, stream: VideoStream | AudioStream, ticks: int) -> None:
    """Go to the last key packet at or before a time stamp, or to the start if that fails."""
    try:
        container.seek(ticks, stream=stream)
    except FFmpegError as error:
        raise_if_environment(container.name.removeprefix("file:"), error)
        container.seek(0, unsupported_byte_offset=True)


def find_pictures(container: InputContainer, stream: VideoStream, moment_s: float) -> Pictures:
    """Find the picture shown at a moment, and all it needs: `pts <= moment < pts + duration`.

    A moment before the first picture is given the first picture.

    Raises:
        ClipError: truncated when the moment lies beyond the last picture.
    """
    base = time_base(stream)
    ticks = math.floor((moment_s + start_s(container) + _CLOCK_SLACK_S) / base)
    first = stream.start_time or 0
    back = 0
    while True:
        seek(container, stream, ticks - back)
        at_start = ticks - back < first
        found = _pictures_until(packets(container, stream), ticks, at_start)
        if found is not None or at_start:
            break
        # The key frame found comes after the moment (open groups, formats that seek roughly): look
        # further back.
        back = max(2 * back, round(1 / base))
    if found is None:
        raise ClipError(Reason.TRUNCATED, "no picture can be read")
    pictures, ended = found
    period = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25)) / base
    if ended and ticks >= pictures.pts + (pictures.packets[pictures.wanted].duration or period):
        end_s = float(pictures.pts * base) - start_s(container)
        raise ClipError(
            Reason.TRUNCATED, f"the last picture starts at {end_s:.3f} s, wanted {moment_s:.3f} s"
        )
    return pictures


def _pictures_until(
    stream_packets: Iterator[Packet[VideoStream]], ticks: int, at_start: bool
) -> tuple[Pictures, bool] | None:
    """Collect from a key frame to the picture shown at `ticks`, and whether the file ended there.

    Returns None when the first key frame met comes after that picture.
    """
    collected: list[Packet[VideoStream]] = []
    wanted, wanted_pts, ended = -1, 0, True
    for packet in stream_packets:
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None or not (collected or packet.is_keyframe or at_start):
            continue
        collected.append(packet)
        shown = not packet.is_discard  # an edit list needs some packets only to decode others
        if shown and (
            wanted < 0 or wanted_pts < pts <= ticks or (pts < wanted_pts and wanted_pts > ticks)
        ):
            wanted, wanted_pts = len(collected) - 1, pts
        if (packet.dts if packet.dts is not None else pts) > ticks:
            ended = False
            break
    if wanted < 0 or (
        not at_start and (wanted_pts > ticks or wanted_pts < (collected[0].pts or wanted_pts))
    ):
        return None
    return Pictures(collected, wanted, wanted_pts, max(ticks, wanted_pts)), ended
