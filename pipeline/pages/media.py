"""Pictures and sounds as a browser takes them, inside a page."""

from __future__ import annotations

import io
from base64 import b64encode

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 92
"""Of what is looked at alone."""
SMALL_QUALITY = 88
"""Of pages with many pictures."""


def jpeg_bytes(pixels: NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """Return `(H, W, 3)` RGB as a JPEG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return content.getvalue()


def as_jpeg(png: bytes) -> bytes:
    """Return a PNG as JPEG: a picture of frames is much smaller so."""
    return jpeg_bytes(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")), SMALL_QUALITY)


def data_uri(kind: str, content: bytes) -> str:
    """Return a file as an address that needs no server; `kind` as in `image/jpeg`."""
    return f"data:{kind};base64,{b64encode(content).decode()}"
