"""Decoding a stretch of sound with PyAV, from a little ahead of it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import chain
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from .container import raise_if_environment
from .moments import Target
from .mono import PREROLL_S, SoundWindow
from .packets import (
    begins_late,
    further_back,
    is_start,
    packets,
    packets_from_start,
    seek,
    start_s,
    time_base,
)


def decode_sound(target: Target, first_s: float, last_s: float) -> SoundWindow:
    """Decode the sound between two times; damaged packets leave silence."""
    container, audio = target.sound_container, target.audio
    audio.codec_context.thread_count = 1
    base = time_base(audio)
    begin = int((first_s - PREROLL_S + start_s(container)) / base)
    # MP4 and Ogg know where each packet of sound is, others only where pictures can be entered.
    guide = audio if set(container.format.name.split(",")) & {"mp4", "ogg"} else None
    for back in further_back(base):
        at_start = is_start(audio, begin - back)
        # By the pictures one would come to the first that can be entered, behind the first sound.
        seek(container, audio, begin - back, audio if at_start else guide)
        found = packets(container, audio)
        first = next(found, None)
        if first is not None:
            reached = at_start and not begins_late(audio, first)
            window = _decode_window(target, chain((first,), found), first_s, last_s, reached)
            if window is not None:
                return window
        if at_start:
            break
    with closing(packets_from_start(container, audio)) as found:
        window = _decode_window(target, found, first_s, last_s, reached=True)
    return window or SoundWindow(first_s, last_s)


def _decode_window(
    target: Target,
    found: Iterable[Packet[Any]],
    first_s: float,
    last_s: float,
    reached: bool,
) -> SoundWindow | None:
    """Decode packets from a little ahead of a window to its end.

    Args:
        target: Whose sound.
        found: Its packets.
        first_s: Start of the window.
        last_s: Its end.
        reached: The packets begin where the sound does. Else they have to begin ahead of the
            window.

    Returns:
        None if they begin later than that.
    """
    container, codec = target.sound_container, target.audio.codec_context
    base, origin_s = float(time_base(target.audio)), start_s(container)
    begin = int((first_s - PREROLL_S + origin_s) / base)
    end = (last_s + origin_s) / base
    window = SoundWindow(first_s, last_s)
    for packet in found:
        pts = packet.pts
        if pts is not None:
            if not reached and pts > begin:
                return None  # the seek was rough, or there is no sound yet
            if pts >= end:
                break
            if pts < begin and pts + (packet.duration or 0) < begin:
                reached = True
                continue
        reached = True
        try:
            frames = codec.decode(packet)
        except FFmpegError as error:
            raise_if_environment(container.name.removeprefix("file:"), error)
            continue
        for frame in frames:
            time_s = None if frame.pts is None else frame.pts * base - origin_s
            window.add(channels_of(frame), frame.sample_rate, time_s)
    return window


_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_SAMPLE_TYPES = {f"{name}{p}": np.dtype(kind) for name, kind in _KINDS.items() for p in ("", "p")}


def channels_of(frame: AudioFrame) -> list[NDArray[Any]]:
    """Return a piece of sound as one (n,) array per channel; nothing is copied."""
    name, num_samples = frame.format.name, frame.samples
    dtype = _SAMPLE_TYPES[name]
    planes: Any = frame.planes  # they have the buffer protocol, their stubs do not
    if name[-1] == "p":
        return [np.frombuffer(plane, dtype, num_samples) for plane in planes]
    samples = np.frombuffer(planes[0], dtype, num_samples * len(frame.layout.channels))
    return list(samples.reshape(num_samples, -1).T)
