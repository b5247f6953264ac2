"""Decoding one picture with PyAV, and as little else as possible.

From the key frame on, skipping pictures that no other refers to, then the wanted one, scaled once:
half the time of decoding every picture.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, Literal, cast

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from ....errors import ClipError, Reason
from ..container import is_still, picture_sizes_refused, raise_if_environment
from ..moments import Target, scaled_size
from ..pictures import Pictures, from_an_earlier_key
from ..pyav_sound import decode_sound
from ..still import exif_orientation, turned

__all__ = ["decode_frame", "decode_sound", "scaled", "upright", "version"]

_MAX_KEYS = 4
"""So many key packets are begun from until the wanted picture appears."""


def version() -> str:
    """Return the versions of PyAV and of the FFmpeg inside it."""
    return f"av {av.__version__}, ffmpeg {av.ffmpeg_version_info}"


def decode_frame(target: Target) -> NDArray[np.uint8]:
    """Decode the wanted picture.

    If any packet on the way is damaged every picture is decoded: what a decoder conceals may depend
    on the pictures skipped.

    Returns:
        (H, W, 3) uint8 RGB, upright, square pixels, short side 256.

    Raises:
        ClipError: decode_error, or truncated when the file ends inside the picture.
    """
    pictures = target.pictures
    codec = target.video.codec_context
    codec.thread_count = 1
    codec.options = {"max_pixels": str(target.max_pixels)}
    # dav1d (AV1) reads `skip_frame` when it is opened, and skips to the end: it is never to skip
    codec.open(strict=False)
    if pictures.counted:
        return _scaled(_numbered(target), target)
    frame, clean = _decode(target, pictures.packets[: pictures.wanted + 1], "NONREF")
    if not clean or frame is None or frame.pts != pictures.pts:
        with picture_sizes_refused() as refused:
            frame = _decode_all(target)
        if refused:
            raise ClipError(Reason.TOO_LARGE, refused[0])
    if frame is None or not _is_shown(frame, target):
        cut = pictures.packets[pictures.wanted].is_corrupt
        raise ClipError(
            Reason.TRUNCATED if cut else Reason.DECODE_ERROR,
            f"the picture at {target.frame_pts_s:.3f} s cannot be decoded",
        )
    return _scaled(frame, target)


def _decode_all(target: Target) -> VideoFrame | None:
    """Decode every picture up to the wanted one, from further back where it does not appear."""
    collected: Pictures | None = target.pictures
    frame = None
    for _ in range(_MAX_KEYS):
        if collected is None:
            break
        frame, _ = _decode(target, collected.packets, "DEFAULT")
        if frame is not None and _is_shown(frame, target):
            break
        collected = from_an_earlier_key(target.container, target.video, collected)
    return frame


def _scaled(frame: VideoFrame, target: Target) -> NDArray[np.uint8]:
    """Scale a picture by its own size: a stream may change it on the way."""
    codec, aspect = target.video.codec_context, target.video.sample_aspect_ratio
    if is_still(target.container):  # PyAV cannot read what FFmpeg makes of its EXIF
        stored = scaled(frame, target.size)
        return turned(stored, exif_orientation(target.container.name.removeprefix("file:")))
    if (frame.width, frame.height) == target.header_size and aspect is not None:
        return upright(frame, target.size)
    aspect = codec.sample_aspect_ratio or aspect
    return upright(frame, scaled_size(frame.width, frame.height, aspect))


def _decode(
    target: Target, compressed: list[Packet[Any]], skip: Literal["NONREF", "DEFAULT"]
) -> tuple[VideoFrame | None, bool]:
    """Decode packets, the last one without skipping, and the decoder's delay.

    Returns:
        The last picture that starts at or before the moment, and whether nothing was damaged.
    """
    codec = target.video.codec_context
    codec.flush_buffers()
    codec.skip_frame = skip
    chosen: VideoFrame | None = None
    clean = True
    for packet in (*compressed, None):
        if packet is compressed[-1]:
            codec.skip_frame = "DEFAULT"
        try:
            frames = codec.decode(packet)
        except FFmpegError as error:
            raise_if_environment(target.container.name.removeprefix("file:"), error)
            clean = False
            continue
        for frame in frames:
            clean = clean and not frame.is_corrupt
            if frame.pts is not None and frame.pts <= target.pictures.ticks:
                chosen = frame
    return chosen, clean


def _numbered(target: Target) -> VideoFrame:
    """Decode the wanted picture by its number: decoders give pictures out in the order shown."""
    codec, pictures = target.video.codec_context, target.pictures
    codec.flush_buffers()
    codec.skip_frame = "DEFAULT"
    shown = 0
    with suppress(FFmpegError):
        for packet in (*pictures.packets, None):
            for frame in codec.decode(packet):
                if shown == pictures.wanted:
                    return frame
                shown += 1
    raise ClipError(
        Reason.DECODE_ERROR, f"the picture at {target.frame_pts_s:.3f} s cannot be decoded"
    )


def _is_shown(frame: VideoFrame, target: Target) -> bool:
    """Tell whether a decoded picture is the one shown at the moment, not one frozen before it."""
    pts = cast("int", frame.pts)
    return pts == target.pictures.pts or pts + frame.duration > target.pictures.ticks


class _Kept(threading.local):
    """A scaler for each thread: it prepares itself again only for pictures of another kind."""

    def __init__(self) -> None:
        self.scaler = VideoReformatter()


_kept = _Kept()


def scaled(frame: VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a decoded picture once, to (H, W, 3) RGB of this width and height."""
    result = _kept.scaler.reformat(
        frame,
        *size,
        format="rgb24",
        interpolation=Interpolation.BICUBIC,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    plane: Any = result.planes[0]  # has the buffer protocol; `to_ndarray` would copy it twice
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    picture = lines[: result.height, : 3 * result.width]
    return np.ascontiguousarray(picture).reshape(result.height, result.width, 3)


def upright(frame: VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a decoded picture once, to RGB, and turn it as its display matrix says.

    Args:
        frame: The picture as stored.
        size: Width and height before turning.

    Returns:
        (H, W, 3) uint8.
    """
    picture = scaled(frame, size)
    try:
        matrix = cast("Any", frame.side_data).get(Type.DISPLAYMATRIX)
    except ValueError:  # beside it lies what PyAV does not know, as of pictures with depth
        return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):  # a quarter turn: x' = c y, y' = b x
        picture = picture.swapaxes(0, 1)
        a, d = c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
