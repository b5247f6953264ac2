"""Frames as ImageNet networks want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

SIZE_PX = 224
PARAMS = {"image_size": SIZE_PX, "resize": "squash-bilinear"}
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def squash(frame: NDArray[np.uint8], size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    """Resize the whole `(H, W, 3)` frame to a square, whatever its aspect, antialiased."""
    from PIL import Image

    image = Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.array(image)


def normalized(frames: NDArray[Any], device: str) -> Tensor:
    """Return `(B, S, S, 3)` uint8 frames as `(B, 3, S, S)` float32, ImageNet-normalised."""
    import torch

    pixels = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value, device=device).view(1, 3, 1, 1) for value in (_MEAN, _STD))
    return (pixels - mean) / std
