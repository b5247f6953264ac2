"""Where the cells of a map lie in the image, and maps brought to image size accordingly.

A ResNet's padded stride convolutions put cell i at pixel stride * i. Upsampling that takes the
cells for the centres of equal tiles (`align_corners=False`) shifts every map by (stride - 1) / 2
pixels: 15.5 at stride 32. Pixel positions here count from the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..choices import DEFAULT_GEOMETRY
from ..choices import Geometry as Geometry
from ..data.features import Cells

if TYPE_CHECKING:
    from torch import nn

    Layer = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d

Kernel = Literal["linear", "bicubic"]
DETR_PX = 224
"""Side of the squeezed frame that DETR saw."""


def path_layers(encoder: nn.Module) -> Iterator[Layer]:
    """Yield the layers that move or merge cells, from image to map.

    Children are taken in the order of their registration, which every encoder keeps equal to the
    order of execution; a residual block's `downsample` branch lies beside the path.
    """
    from torch import nn

    for name, child in encoder.named_children():
        if name == "downsample":
            continue
        if isinstance(child, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            yield child
        else:
            yield from path_layers(child)


def cell_centres(encoder: nn.Module, size_px: int) -> NDArray[np.float64]:
    """Return the receptive-field centres of a map's cells along one side.

    Args:
        encoder: Stack of convolutions and pools, square kernels, strides and paddings.
        size_px: Side of the image.

    Returns:
        `(n,)` centres in pixels, n the map's side. torchvision's ResNet18: 32 * i.
    """
    start, jump, cells = 0.0, 1, size_px
    for layer in path_layers(encoder):
        kernel, stride, padding = (_side(getattr(layer, a)) for a in _SIZES)
        reach = (kernel - 1) * (_side(layer.dilation) if hasattr(layer, "dilation") else 1)
        cells = (cells + 2 * padding - reach - 1) // stride + 1
        start += jump * (reach / 2 - padding)
        jump *= stride
    return start + jump * np.arange(cells, dtype=np.float64)


def cell_shares(cells: Cells, num: int, size_px: int = DETR_PX) -> NDArray[np.float64]:
    """Return the centres of `num` cells along one side, as shares of it.

    Args:
        cells: Where they lie.
        num: How many there are.
        size_px: Side of the picture that the network saw: `corners` are centres of pixels.
    """
    tile_px = size_px / num
    first_px = 0.5 if cells == "corners" else tile_px / 2
    return (tile_px * np.arange(num, dtype=np.float64) + first_px) / size_px


def detr_centres_px(num_cells: int) -> NDArray[np.float64]:
    """Return where DETR's cells lie: a padded ResNet50 puts 7 cells at pixels 0, 32, ... of 224."""
    return DETR_PX / num_cells * np.arange(num_cells, dtype=np.float64)


_SIZES = ("kernel_size", "stride", "padding")


def _side(value: Any) -> int:
    """Return a layer's setting, given as one number or as (height, width), for a square."""
    return int(value[0] if isinstance(value, tuple) else value)


def upsample(
    maps: NDArray[np.floating[Any]],
    size: tuple[int, int],
    geometry: Geometry = DEFAULT_GEOMETRY,
    centres_px: NDArray[np.float64] | None = None,
    image_px: int | None = None,
    kernel: Kernel = "linear",
) -> NDArray[np.float32]:
    """Bring maps to image size, constant beyond the outer cells.

    Args:
        maps: `(B, h, w)` similarity maps.
        size: `(H, W)` of the result.
        geometry: `rf-centred`: cells lie at `centres_px`; `cell-centred`: in the middle of equal
            tiles (`align_corners=False`); `corners`: the outer cells lie on the outer pixels
            (`align_corners=True`).
        centres_px: `(h,)` of `cell_centres`, of a square image and map; for `rf-centred` only.
        image_px: Side of the image that `centres_px` speak of.
        kernel: `linear` between the cells, or `bicubic` with a = -0.75 (torch's, of SLAVC).

    Returns:
        `(B, H, W)` float32.

    Raises:
        ValueError: If `rf-centred` is asked for without centres.
    """
    centres = None if centres_px is None else tuple(centres_px.tolist())
    rows, columns = (
        _matrix(cells, pixels, geometry, kernel, centres, image_px)
        for cells, pixels in zip(maps.shape[1:], size, strict=True)
    )
    result: NDArray[np.float32] = rows @ maps.astype(np.float32) @ columns.T
    return result


@lru_cache(16)  # an evaluation asks for one and the same, a few maps at a time
def _matrix(
    cells: int,
    pixels: int,
    geometry: Geometry,
    kernel: Kernel,
    centres_px: tuple[float, ...] | None,
    image_px: int | None,
) -> NDArray[np.float32]:
    """Return the `(pixels, cells)` matrix that fills in the pixels of one side."""
    places = _places(cells, pixels, geometry, centres_px, image_px)
    matrix = _bicubic(places, pixels) if kernel == "bicubic" else _linear(places, pixels)
    matrix.flags.writeable = False
    return matrix


def _places(
    cells: int,
    pixels: int,
    geometry: Geometry,
    centres_px: tuple[float, ...] | None,
    image_px: int | None,
) -> NDArray[np.float64]:
    """Return where `cells` cells lie among `pixels` output pixels, `(cells,)`."""
    if geometry == "corners":
        return np.linspace(0, pixels - 1, cells)
    if geometry == "cell-centred":
        return (np.arange(cells) + 0.5) * pixels / cells - 0.5
    if centres_px is None or image_px is None or len(centres_px) != cells:
        raise ValueError(f"rf-centred upsampling of {cells} cells needs their {cells} centres")
    return (np.array(centres_px) + 0.5) * pixels / image_px - 0.5


def _linear(places: NDArray[np.float64], pixels: int) -> NDArray[np.float32]:
    """Return the `(pixels, cells)` matrix of linear interpolation between `places`."""
    unit = np.eye(len(places))
    columns = [np.interp(np.arange(pixels), places, cell) for cell in unit]
    return np.stack(columns, axis=1).astype(np.float32)


def _bicubic(places: NDArray[np.float64], pixels: int) -> NDArray[np.float32]:
    """Return the same for cubic convolution (Keys 1981) of equally spaced `places`, a = -0.75."""
    cells = len(places)
    spacing = places[1] - places[0] if cells > 1 else 1.0
    source = (np.arange(pixels) - places[0]) / spacing
    left = np.floor(source).astype(np.int64)
    weights = np.zeros((pixels, cells))
    for tap in range(-1, 3):  # the outer cells stand for what lies beyond them
        cell = np.clip(left + tap, 0, cells - 1)
        weights[np.arange(pixels), cell] += _keys(np.abs(source - (left + tap)))
    return weights.astype(np.float32)


def _keys(distance: NDArray[np.float64], a: float = -0.75) -> NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
