"""SimCLR's changes of colour, for a whole batch on its device (Chen et al. 2020, appendix A).

Every image draws its own strengths; the order of the four changes is drawn once for the batch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHANGED, _GREY = 0.8, 0.2
"""Probabilities that an image's colours are changed, and that they are taken away."""
_SIGMAS = (0.1, 2.0)
"""Range of the blur, in pixels; its kernel is a tenth of the image wide."""


def change_colours(
    frames: Tensor, rng: np.random.Generator, strength: float, blur_probability: float
) -> Tensor:
    """Change brightness, contrast, saturation and hue of most images; take some images' colours.

    Args:
        frames: `(B, 3, S, S)` in [0, 1].
        rng: Generator.
        strength: SimCLR's s: brightness, contrast and saturation change by up to 0.8 s, hue by
            0.2 s of a turn; 0 leaves all colours as they are.
        blur_probability: That an image is blurred.

    Returns:
        `(B, 3, S, S)` in [0, 1].
    """
    num = len(frames)

    def column(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(frames.device)[:, None, None, None]

    changed = rng.random(num) < _CHANGED
    factors = rng.uniform(max(0.0, 1 - 0.8 * strength), 1 + 0.8 * strength, (3, num))
    turns = rng.uniform(-1, 1, num) * min(0.5, 0.2 * strength)
    brighter, starker, fuller = (column(np.where(changed, each, 1.0)) for each in factors)
    turn = column(np.where(changed, turns, 0.0))
    order = rng.permutation(4)
    grey = rng.random(num) < (_GREY if strength else 0.0)
    blurred = rng.random(num) < blur_probability
    sigma = rng.uniform(*_SIGMAS, num)
    for change in order.tolist() if strength else []:
        frames = (
            lambda x: (x * brighter).clamp(0, 1),
            lambda x: blend(x, luminance(x).mean((2, 3), keepdim=True), starker),
            lambda x: blend(x, luminance(x), fuller),
            lambda x: turn_hue(x, turn),
        )[change](frames)
    frames = torch.where(column(grey.astype(np.float64)) > 0, luminance(frames), frames)
    if blurred.any():
        chosen = torch.from_numpy(np.flatnonzero(blurred)).to(frames.device)
        soft = blur(frames[chosen], torch.from_numpy(sigma[blurred]).float().to(frames.device))
        frames = frames.index_copy(0, chosen, soft)
    return frames


def luminance(frames: Tensor) -> Tensor:
    """Return the grey of `(B, 3, S, S)`, `(B, 1, S, S)` (ITU-R 601)."""
    weights = torch.tensor((0.2989, 0.587, 0.114), device=frames.device)[:, None, None]
    return (frames * weights).sum(1, keepdim=True)


def blend(frames: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return factor * frames + (1 - factor) * other, in [0, 1]."""
    return (factor * frames + (1 - factor) * other).clamp(0, 1)


def turn_hue(frames: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of `(B, 3, S, S)` in [0, 1] by `(B, 1, 1, 1)` turns, as in HSV."""
    largest = frames.amax(1, keepdim=True)
    spread = largest - frames.amin(1, keepdim=True)
    safe = torch.where(spread == 0, 1.0, spread)
    red, green, blue = ((largest - frames) / safe).chunk(3, 1)
    is_red, is_green = largest == frames[:, :1], largest == frames[:, 1:2]
    sixth = torch.where(
        is_red, blue - green, torch.where(is_green, 2 + red - blue, 4 + green - red)
    )
    hue = (sixth / 6 + turn) * 6
    offsets = torch.tensor((5.0, 3.0, 1.0), device=frames.device)[:, None, None]
    place = (offsets + hue).remainder(6)
    return largest - spread * torch.minimum(place, 4 - place).clamp(0, 1)


def blur(frames: Tensor, sigma: Tensor) -> Tensor:
    """Blur `(B, 3, S, S)` by Gaussians of `(B,)` pixels; the border is mirrored."""
    size = frames.shape[-1]
    reach = max(1, size // 20)
    offset = torch.arange(-reach, reach + 1, device=frames.device)
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    pixel = (torch.arange(size, device=frames.device)[:, None] + offset).abs()
    pixel = (size - 1) - (size - 1 - pixel).abs()
    mixing = kernel.new_zeros(len(kernel), size, size)
    shape = len(kernel), size, 2 * reach + 1
    mixing.scatter_add_(2, pixel.expand(shape), kernel[:, None].expand(shape))
    return mixing[:, None] @ frames @ mixing.mT[:, None]
