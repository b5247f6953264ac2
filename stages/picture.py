"""A picture file of any common kind, as the JPEG that the decoders take. Runs in the child."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ClipError, Reason
from .media_open import check_file

KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What Pillow decodes by itself: no format that starts a program or opens a second file."""

_SHORT_SIDE = 1080
_QUALITY = 98


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
    except PermissionError as error:
        raise ClipError(Reason.IO_ERROR, error.strerror or "") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # Pillow's, of damaged files
        raise ClipError(Reason.DECODE_ERROR, str(error)) from None


def eight_bit(picture: Image.Image) -> Image.Image:
    """Return a picture of 16-bit greys with 8 bits, any other as it is."""
    if not (picture.mode.startswith("I;16") or picture.mode == "I"):
        return picture
    values = np.asarray(picture).astype(np.int64)  # Pillow would cut off at 255
    return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))


def _rgb(picture: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB."""
    picture = eight_bit(picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return picture.convert("RGB")
