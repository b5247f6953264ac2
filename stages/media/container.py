"""Opening one media file safely, or saying why not. Both decoders go through here.

FFmpeg sees regular files only, through the `file` protocol, with a list of container formats none
of which opens a second file: playlists, scripts and numbered pictures are not among them, external
references of QuickTime stay off.
"""

from __future__ import annotations

import errno
import re
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import cast

import av
import av.logging
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from ...errors import REFUSALS, ClipError, Reason
from ...machine import has_room
from .avi import index_is_wrong

STILL = "jpeg_pipe"
"""A picture file. It must be asked for: of a file named `.jpg` FFmpeg makes numbered pictures."""
STILL_PNG = "png_pipe"
"""One that is a clip only beside a sound, as AVSBench's frames are; alone a PNG is no media."""

FORMATS = f"mov,mp4,3gp,matroska,webm,avi,flv,mpegts,mpeg,ogg,wav,mp3,flac,{STILL}"
MAX_PIXELS = 67_000_000
MAX_STREAMS = 100
"""More than any video has: each packet read is chosen among all streams, which takes for ever."""
PATIENCE = {"analyzeduration": "60000000", "probesize": "50000000"}
"""How far a file is probed, in microseconds and bytes, whose first picture comes late."""

_BRIEFLY = {"probesize": "100000"}
"""The same for a file whose header says nearly all."""

_ENOUGH_BYTES = 256 << 20
_MANY_PACKETS, _LOOKED_AT = 1 << 16, 1 << 10
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
_SIGNATURES = (
    b"\x1aE\xdf\xa3",
    b"RIFF",
    b"FLV\x01",
    b"OggS",
    b"\x00\x00\x01\xba",
)  # webm, avi and wav, flv, ogg, mpg

av.logging.set_level(None)  # damaged clips are expected here: they become reasons, not log lines


_doubts: ContextVar[bool] = ContextVar("doubts", default=False)


class DoubtfulError(Exception):
    """FFmpeg told of a disk that reads the whole file now: a second look may find a good clip."""


@contextmanager
def doubting() -> Iterator[None]:
    """Raise `DoubtfulError` inside, where a demuxer would be believed that tells of a bad disk."""
    before = _doubts.set(True)
    try:
        yield
    finally:
        _doubts.reset(before)


def check_file(path: str) -> None:
    """Refuse what is not a regular file with bytes in it, without opening it.

    Raises:
        ClipError: missing, empty, not_media (a folder, FIFO or device) or io_error.
    """
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ClipError(Reason.MISSING, f"there is no {Path(path).name}") from None
    except OSError as error:
        raise ClipError(Reason.IO_ERROR, error.strerror or "") from None
    if not S_ISREG(status.st_mode):
        raise ClipError(Reason.NOT_MEDIA, "not a regular file")
    if status.st_size == 0:
        raise ClipError(Reason.EMPTY)


@contextmanager
def open_media(
    path: str, max_pixels: int = MAX_PIXELS, *, png: bool = False, wants_aspect: bool = True
) -> Iterator[InputContainer]:
    """Open a media file for reading and close it at the end of the `with` block.

    Errors of FFmpeg that nobody handles inside the block become `ClipError` too.

    Args:
        path: File name, surrogate-escaped where it is not UTF-8.
        max_pixels: Probing decodes no picture with more pixels.
        png: Whether the file may be a PNG, since its sound is another.
        wants_aspect: Whether the shape of pixels is to be known before a picture is decoded.

    Raises:
        ClipError: missing, empty, not_media, truncated (a media file without its index),
        decode_error or io_error. MemoryError: FFmpeg could not allocate.
    """
    check_file(path)
    try:
        by_header = _open_by_header(path, max_pixels, wants_aspect)
        container = by_header or _open(path, max_pixels, png=png)
        if any(_has_no_size(stream) for stream in container.streams.video):
            container.close()
            container = _open(path, max_pixels, PATIENCE, png=png)
    except FFmpegError as error:
        raise_if_environment(path, error)
        raise _refusal(path, error) from None
    try:
        if len(container.streams) > MAX_STREAMS:
            raise ClipError(Reason.DECODE_ERROR, f"{len(container.streams)} streams")
        if any(_plays_all_again(stream) for stream in container.streams):
            raise ClipError(Reason.DECODE_ERROR, "it plays the same packets over and over")
        if container.format.name == "avi" and index_is_wrong(path):
            raise ClipError(Reason.DECODE_ERROR, "its index points elsewhere")
        yield container
    except FFmpegError as error:
        raise_if_environment(path, error)
        raise ClipError(Reason.DECODE_ERROR, error.strerror or "") from None
    finally:
        container.close()


def _plays_all_again(stream: Stream) -> bool:
    """Tell whether an MP4 names its packets again and again, so that one seek takes minutes."""
    packets = stream.index_entries
    if len(packets) < _MANY_PACKETS:
        return False
    places = {packets[n * len(packets) // _LOOKED_AT].pos for n in range(_LOOKED_AT)}
    return len(places) < _LOOKED_AT // 2


def _open_by_header(path: str, max_pixels: int, wants_aspect: bool) -> InputContainer | None:
    """Open an MP4 file whose header says all that probing would find out; None for any other.

    Of H.264 probing decodes the first picture, for a few milliseconds, only to learn the format of
    its pixels, which nobody here asks for.
    """
    if _begins(path)[4:8] not in _MP4_BOXES:
        return None
    try:
        container = _open(path, max_pixels, _BRIEFLY, options={"skip_frame": "all"})
    except FFmpegError:
        return None  # which `_open` explains
    if _is_known(container, wants_aspect):
        return container
    container.close()
    return None


def _is_known(container: InputContainer, wants_aspect: bool) -> bool:
    """Tell whether a header says sizes, rates and, if wanted, shapes of pixels of all streams."""
    video, audio = container.streams.video, container.streams.audio
    pictures = [(cast("VideoCodecContext | None", s.codec_context), s) for s in video]
    sounds = [cast("AudioCodecContext | None", stream.codec_context) for stream in audio]
    return all(
        codec is not None
        and codec.name == "h264"
        and codec.width > 0
        and not (wants_aspect and stream.sample_aspect_ratio is None)  # the pictures may say it
        for codec, stream in pictures
    ) and all(codec is not None and codec.sample_rate > 0 for codec in sounds)


def _has_no_size(stream: VideoStream) -> bool:
    """Tell whether probing ended before it met a picture."""
    codec = cast("VideoCodecContext | None", stream.codec_context)
    return codec is not None and not codec.width


def is_still(container: InputContainer) -> bool:
    """Tell whether a file is one picture."""
    return container.format.name in (STILL, STILL_PNG)


def _open(
    path: str,
    max_pixels: int,
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    png: bool = True,
    options: Mapping[str, str] = MappingProxyType({"skip_loop_filter": "all"}),
) -> InputContainer:
    still = _still_format(path)
    return av.open(
        f"file:{path}",
        mode="r",
        format=still if png or still == STILL else None,
        # for the pictures that probing decodes: only their kind is asked for
        options={"max_pixels": str(max_pixels), **options},
        container_options={
            "format_whitelist": f"{FORMATS},{STILL_PNG}" if png else FORMATS,
            "protocol_whitelist": "file",
            "enable_drefs": "0",
            **more,
        },
        metadata_errors="replace",
    )


def _still_format(path: str) -> str | None:
    """Return the format of a picture file by how it begins; FFmpeg reports better what is wrong."""
    begins = _begins(path)
    if begins.startswith(_JPEG):
        return STILL
    return STILL_PNG if begins == _PNG else None


def _begins(path: str) -> bytes:
    """Return the first 8 bytes of a file, none where it cannot be read."""
    with suppress(OSError), Path(path).open("rb") as file:
        return file.read(len(_PNG))
    return b""


def refused_picture_size(path: str, max_pixels: int) -> str | None:
    """Return the picture size for which probing gave up, if it did; only FFmpeg's messages say."""
    with picture_sizes_refused() as refused, suppress(FFmpegError):
        _open(path, max_pixels).close()
    return next(iter(refused), None)


@contextmanager
def picture_sizes_refused() -> Iterator[list[str]]:
    """Yield a list that holds, after the `with` block, the picture sizes refused in it."""
    refused: list[str] = []
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as messages:
            yield refused
    finally:
        av.logging.set_level(None)
    refused.extend(sizes_in("\n".join(text for _, _, text in messages)))


def sizes_in(messages: str) -> list[str]:
    """Return the sizes of pictures that FFmpeg's messages say it refused."""
    found = re.finditer(r"Picture size (\d+)x(\d+) ", messages)
    return [f"{match[1]} x {match[2]}" for match in found]


def check_media(path: str) -> None:
    """Open a file and close it again.

    Raises:
        ClipError: As `open_media`.
    """
    with open_media(path):
        pass


def raise_if_environment(path: str, error: FFmpegError) -> None:
    """Raise when an error of FFmpeg is the machine's fault and not the clip's.

    Some demuxers report an I/O error at the end of a cut file, so the disk is asked itself; and
    absurd tables ask for more memory than there is, so the memory is. What the disk refused once is
    like the end of a cut file: a second look tells, which who asks takes by `doubting`.

    Raises:
        DoubtfulError: The file can be read now, and a second look is wanted.
        MemoryError: FFmpeg could not allocate, and there is little left.
        ClipError: missing or io_error; decode_error where only this file asks for too much.
    """
    if isinstance(error, MemoryError):
        raise_if_memory_is_low()
        raise ClipError(Reason.DECODE_ERROR, "it asks for an absurd amount of memory") from None
    if not isinstance(error, OSError):
        return
    if error.errno in REFUSALS - {errno.EIO}:  # no demuxer says that of a file's content
        raise ClipError(Reason.IO_ERROR, error.strerror or "") from None
    try:
        with Path(path).open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    except FileNotFoundError:
        raise ClipError(Reason.MISSING) from None
    except OSError as failure:
        raise ClipError(Reason.IO_ERROR, failure.strerror or "") from None
    if error.errno == errno.EIO and _doubts.get():
        raise DoubtfulError


def raise_if_memory_is_low() -> None:
    """Raise when this process cannot have as much again as a clip needs at once.

    Where most of what it may have was given away and never written into, the file asked for it.

    Raises:
        MemoryError: It is not the clip's fault.
    """
    if not has_room(_ENOUGH_BYTES):
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY or _unused_bytes() < limit // 2:
            raise MemoryError


def _unused_bytes() -> int:
    """Return the address space that this process was given and has not written into (proc(5))."""
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    return (int(size) - int(resident)) * resource.getpagesize()


def _refusal(path: str, error: FFmpegError) -> ClipError:
    """Return why a readable file that FFmpeg could not open is refused."""
    with Path(path).open("rb") as file:
        head = file.read(16)
    format_refused = (
        error.errno == errno.EINVAL
    )  # FFmpeg knows the format, the list of formats does not hold it
    if head[4:8] in _MP4_BOXES:
        if _has_whole_index(path):
            return ClipError(Reason.DECODE_ERROR, "its index cannot be read")
        return ClipError(Reason.TRUNCATED, "a media file without its index")
    if head.startswith(_SIGNATURES) and not format_refused:
        return ClipError(Reason.TRUNCATED, "a media file without its header")
    return ClipError(Reason.NOT_MEDIA, "not a media format that is read here")


def _has_whole_index(path: str) -> bool:
    """Tell whether an MP4 file holds a whole `moov` box, by walking its outermost boxes."""
    size = Path(path).stat().st_size
    position = 0
    with Path(path).open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if head[4:8] == b"moov":
                return position + length <= size
            if length < 8:
                return False
            position += length
    return False
