"""What must be decoded for the picture shown at a moment, found without decoding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ...errors import ClipError, Reason
from .packets import (
    begins_late,
    further_back,
    is_start,
    packets,
    packets_from_start,
    picture_period,
    seek,
    start_s,
    time_base,
)

_CLOCK_SLACK_S = 1e-6  # containers round their start time to microseconds
_REORDERING = ("h264", "hevc")
_MAX_REORDER = 16  # pictures by which these codecs may delay one
_STEPS_TO_A_KEY = 3


@dataclass(frozen=True)
class Pictures:
    """Compressed pictures in decoding order, from a key frame to the wanted picture and a few more.

    Attributes:
        packets: The compressed pictures; those up to `wanted` suffice for the wanted one.
        wanted: Index of the packet of the picture shown at the moment asked for.
        pts: Its time stamp in the stream's time base.
        ticks: The moment asked for, in the same unit; not before `pts`.
        counted: H.264 in AVI, which knows no display times, only how many pictures there are: time
            stamps of decoded pictures mean nothing, the wanted one is number `wanted` shown.
    """

    packets: list[Packet[Any]]
    wanted: int
    pts: int
    ticks: int
    counted: bool = False


def find_pictures(container: InputContainer, stream: VideoStream, moment_s: float) -> Pictures:
    """Find the picture shown at a moment (`pts <= moment < pts + duration`) and all it needs.

    A moment before the first picture is given the first picture.

    Args:
        container: The open file.
        stream: Its video stream.
        moment_s: Seconds from the container's start.

    Raises:
        ClipError: truncated when the moment lies beyond the last picture.
    """
    base = time_base(stream)
    ticks = math.floor((moment_s + start_s(container) + _CLOCK_SLACK_S) / base)
    codec = stream.codec_context
    counted = container.format.name == "avi" and codec.name in _REORDERING and codec.has_b_frames
    found = _search(container, stream, ticks, ticks, _MAX_REORDER if counted else 0)
    if found is None:
        raise ClipError(Reason.TRUNCATED, "no picture can be read")
    pictures, ended = found
    shown = pictures.packets[pictures.wanted].duration or picture_period(stream)
    if ended and ticks >= pictures.pts + shown:
        last_s = float(pictures.pts * base) - start_s(container)
        raise ClipError(
            Reason.TRUNCATED, f"the last picture is at {last_s:.3f} s, wanted {moment_s:.3f} s"
        )
    return replace(pictures, counted=bool(counted))


def nearest_key(
    container: InputContainer,
    stream: VideoStream,
    pictures: Pictures,
    span_s: tuple[float, float],
) -> Pictures | None:
    """Find the key frame nearest to the picture wanted, the earlier of two that are as near.

    Args:
        container: The open file.
        stream: Its video stream.
        pictures: The picture wanted and what it needs, from the key frame before it on.
        span_s: Where the clip lies, in seconds from the container's start; others are left out.

    Returns:
        None where the clip has no key frame whose time is known.
    """
    if pictures.counted:
        return None
    base, wanted = time_base(stream), pictures.ticks
    low, high = (math.floor((time_s + start_s(container)) / base) for time_s in span_s)
    first = pictures.packets[0]
    found = [(first.pts, first)] if first.is_keyframe and first.pts is not None else []
    reach = min([high - wanted, *(wanted - pts for pts, _ in found if pts >= low)])
    seek(container, stream, wanted, stream)
    for packet in packets(container, stream):
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None and stamp > wanted + reach:
            break
        if packet.is_keyframe and packet.pts is not None:
            found.append((packet.pts, packet))
    near = [(pts, one) for pts, one in found if low <= pts < high and not one.is_discard]
    if not near:
        return None
    pts, key = min(near, key=lambda at: (abs(at[0] - wanted), at[0]))
    return Pictures([key], 0, pts, pts)


def from_an_earlier_key(
    container: InputContainer, stream: VideoStream, pictures: Pictures
) -> Pictures | None:
    """Collect what `pictures` holds, and what lies between its key packet and the one before.

    Behind a key packet that only starts to refresh the picture (H.264's recovery points) the first
    pictures cannot be shown unless decoding began before it.

    Returns:
        None where there is no earlier key packet.
    """
    first = pictures.packets[0]
    stamps = [stamp for stamp in (first.pts, first.dts) if stamp is not None]
    if not stamps:
        return None
    for back in islice(further_back(time_base(stream)), _STEPS_TO_A_KEY):
        from_ticks = min(stamps) - 1 - back
        if is_start(stream, from_ticks):
            from_ticks = (stream.start_time or 0) - 1
        found = _search(container, stream, pictures.ticks, from_ticks, 0)
        if found is None or found[0].pts != pictures.pts:
            return None
        if len(found[0].packets) > len(pictures.packets):
            return found[0]
        if is_start(stream, from_ticks):
            break
    return None


def _search(
    container: InputContainer, stream: VideoStream, ticks: int, from_ticks: int, more: int
) -> tuple[Pictures, bool] | None:
    """Look for the picture shown at `ticks` from the last key packet at or before `from_ticks`."""
    for back in further_back(time_base(stream)):
        at_start = is_start(stream, from_ticks - back)
        seek(container, stream, from_ticks - back, stream)
        found = _pictures_until(packets(container, stream), ticks, at_start, more)
        if found is not None and not (at_start and begins_late(stream, found[0].packets[0])):
            return found
        if at_start:
            break
        # The key frame met came after the moment (open groups of pictures, formats that seek
        # roughly): look further back.
    return _pictures_until(packets_from_start(container, stream), ticks, True, more)


def _pictures_until(
    stream_packets: Iterator[Packet[Any]], ticks: int, at_start: bool, more: int
) -> tuple[Pictures, bool] | None:
    """Collect from a key frame to the picture shown at `ticks`, and whether the file ended there.

    `more` pictures behind it are collected too.

    Returns None when the first key frame met comes after that picture.
    """
    collected: list[Packet[Any]] = []
    wanted, wanted_pts, num_later = -1, 0, 0
    for packet in stream_packets:
        pts = packet.pts if packet.pts is not None else packet.dts
        if not (collected or packet.is_keyframe or at_start):
            continue
        collected.append(packet)
        if pts is None:  # before zero in Matroska: others need it, no moment is known to be its
            continue
        if not packet.is_discard:  # an edit list needs such packets only to decode others
            later = wanted_pts < pts <= ticks
            first = wanted_pts > ticks and pts < wanted_pts
            if wanted < 0 or later or first:
                wanted, wanted_pts = len(collected) - 1, pts
        num_later += pts > ticks
        # where there is no dts, earlier pictures may follow, but not behind so many later ones
        if (packet.dts is not None and packet.dts > ticks) or num_later > _MAX_REORDER:
            collected.extend(islice(stream_packets, more))
            break
    if wanted < 0:
        return None
    key_pts = collected[0].pts
    if not at_start and (wanted_pts > ticks or (key_pts is not None and wanted_pts < key_pts)):
        return None
    return Pictures(collected, wanted, wanted_pts, max(ticks, wanted_pts)), not num_later
