"""What maps score that did not listen: priors that know the picture, or not even that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..benchmarks import SIZE_PX
from ..choices import DEFAULT_SCALES
from ..choices import BlendScales as BlendScales
from . import blends
from .blends import Floats32 as Floats32
from .protocols import PROTOCOLS

Frame = NDArray[np.uint8]
ALPHA = PROTOCOLS["avpipe"].alpha
"""Share of the audio-visual map in a blend."""
_BLUR_PX = 5.0


def center_prior(size_px: int = SIZE_PX) -> Floats32:
    """Return minus each pixel's distance from the centre in sides, `(size_px, size_px)`."""
    offsets = (np.arange(size_px) + 0.5) / size_px - 0.5
    return -np.hypot(offsets[:, None], offsets[None, :]).astype(np.float32)


def saliency(frame: Frame, size_px: int = SIZE_PX) -> Floats32:
    """Return how far each place's colour is from the picture's mean colour.

    Frequency-tuned saliency (Achanta et al., CVPR 2009): needs no weights, and no sound.

    Args:
        frame: `(H, W, 3)` uint8 RGB.
        size_px: Side of the result, the whole frame.

    Returns:
        `(size_px, size_px)` distances in CIE L*a*b*.
    """
    small = Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.BICUBIC)
    blurred = small.filter(ImageFilter.GaussianBlur(_BLUR_PX * size_px / SIZE_PX))
    colours = cie_lab(np.asarray(blurred))
    mean = cie_lab(np.asarray(small)).mean((0, 1))
    distance: Floats32 = np.linalg.norm(colours - mean, axis=2).astype(np.float32)
    return distance


def cie_lab(frame: Frame) -> NDArray[np.float64]:
    """Convert sRGB `(..., 3)` uint8 to CIE L*a*b* (D65)."""
    shares = frame / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _RGB_TO_XYZ.sum(1)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_RGB_TO_XYZ = np.array(
    [(0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750),
     (0.0193339, 0.1191920, 0.9503041)]
)  # fmt: skip


def blend(
    av_maps: NDArray[np.floating[Any]],
    object_maps: NDArray[np.floating[Any]],
    alpha: float = ALPHA,
    scales: BlendScales = DEFAULT_SCALES,
) -> Floats32:
    """Mix maps of sound and objects.

    `minmax`, as protocol `avpipe`: each is brought to [0, 1] first. `slavc`, as SLAVC's test code
    and its IPOL demo: (cosine + 1) / 2 and OGL / 2.5 are mixed as they are, so that pictures can
    be compared with each other.

    Args:
        av_maps: `(..., H, W)` localization maps.
        object_maps: The same shape.
        alpha: Share of the localization maps.
        scales: See above.

    Returns:
        The same shape, in [0, 1] but for what OGL has above 2.5 with `slavc`.
    """
    if scales == "slavc":
        return blends.blend(PROTOCOLS["slavc"], (av_maps + 1) / 2, object_maps, alpha)
    return blends.blend(PROTOCOLS["avpipe"], av_maps, object_maps, alpha)
