"""A picture file of any common kind, as the JPEG that the decoders take. Runs in the child."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import ClipError, Reason
from ...reading import PICTURE_DAMAGE
from .container import check_file, raise_if_memory_is_low

KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What Pillow decodes by itself: no format that starts a program or opens a second file."""

_SHORT_SIDE = 1080
_QUALITY = 98
_ORIENTATION = 0x0112  # of EXIF
_MAX_KEPT_BYTES = 4 << 20


def read_picture(path: str, max_pixels: int) -> bytes:
    """Return a picture as JPEG: upright as its EXIF says, on white where it is transparent.

    Args:
        path: JPEG, PNG, WebP, BMP, GIF (its first picture), TIFF (its first page) or PPM.
        max_pixels: Larger pictures are refused before they are decoded.

    Raises:
        ClipError: missing, empty, not_media, too_large, decode_error or io_error.
    """
    picture = open_picture(path, max_pixels, _rgb)
    if min(picture.size) > _SHORT_SIDE:
        scale = _SHORT_SIDE / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    try:
        picture.save(content, "JPEG", quality=_QUALITY, subsampling=0)
    except OSError:  # a side beyond 65,500
        raise ClipError(Reason.TOO_LARGE, f"{picture.width} x {picture.height}") from None
    return content.getvalue()


def open_picture(
    path: str, max_pixels: int, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Decode a picture, upright as its EXIF says.

    Args:
        path: As for `read_picture`.
        max_pixels: Larger pictures are refused before they are decoded.
        convert: Brings it to a mode.

    Raises:
        ClipError: missing, empty, not_media, too_large, decode_error or io_error.
    """
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF data; sizes are checked here
            with Image.open(path, formats=KINDS) as opened:
                if opened.width * opened.height > max_pixels:
                    raise ClipError(Reason.TOO_LARGE, f"{opened.width} x {opened.height}")
                return convert(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        raise ClipError(Reason.NOT_MEDIA, "no picture that is read here") from None
    except Image.DecompressionBombError as error:
        raise ClipError(Reason.TOO_LARGE, str(error)) from None
    except MemoryError:  # of a chunk that says it is gigabytes long, and is not there
        raise_if_memory_is_low()
        raise ClipError(Reason.DECODE_ERROR, "it asks for an absurd amount of memory") from None
    except PICTURE_DAMAGE as error:
        if isinstance(error, OSError) and error.errno:  # the disk's
            raise ClipError(Reason.IO_ERROR, error.strerror or "") from None
        raise ClipError(Reason.DECODE_ERROR, str(error)) from None


def eight_bit(picture: Image.Image) -> Image.Image:
    """Return a picture of 16-bit greys with 8 bits, any other as it is."""
    if not (picture.mode.startswith("I;16") or picture.mode == "I"):
        return picture
    values = np.asarray(picture).astype(np.int64)  # Pillow would cut off at 255
    return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))


def exif_orientation(path: str) -> int:
    """Return how a picture file says that it lies: EXIF's 1 to 8, 1 where it does not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=KINDS) as opened:
                said = opened.getexif().get(_ORIENTATION, 1)
    except (*PICTURE_DAMAGE, MemoryError):
        return 1
    return said if said in range(1, 9) else 1


def turned(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return a picture upright that lies as EXIF's orientation says.

    Args:
        picture: (H, W, 3) as stored.
        orientation: 1 to 8; 5 to 8 exchange height and width.
    """
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    upside_down, mirrored = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def unchanged_jpeg(path: str, shape: tuple[int, ...]) -> bytes | None:
    """Return the bytes of a JPEG file that shows its frame as it stands; None of any other file.

    Encoding it again would blur it for nothing. What has to be turned, scaled, or brought from grey
    or CMYK to RGB is not the frame; nor is a file that is damaged, or has much behind its picture.

    Args:
        path: Any file.
        shape: Height and width of the frame.
    """
    try:
        if Path(path).stat().st_size > _MAX_KEPT_BYTES:
            return None
        content = Path(path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=("JPEG",)) as opened:
                same = opened.mode == "RGB" and opened.size == (shape[1], shape[0])
                if opened.format != "JPEG" or not same or exif_orientation(path) != 1:
                    return None
                opened.load()
    except (*PICTURE_DAMAGE, MemoryError):  # no JPEG, or a damaged one
        return None
    return content


def _rgb(picture: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB."""
    picture = eight_bit(picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return picture.convert("RGB")
