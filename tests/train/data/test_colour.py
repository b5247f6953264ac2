"""SimCLR's colours, against torchvision one image at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from avpipe.train.data import colour
from torchvision.transforms import functional as vision


def images(count: int = 5, side: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(count, 3, side, side, generator=generator)
    frames[0, :, :10] = frames[0, :1, :10]  # grey pixels have no hue
    return frames


def each(values: list[float]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None]


FACTORS = [0.0, 0.4, 1.0, 1.7, 0.9]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x, f: (x * f).clamp(0, 1), vision.adjust_brightness),
        (
            lambda x, f: colour.blend(x, colour.luminance(x).mean((2, 3), keepdim=True), f),
            vision.adjust_contrast,
        ),
        (lambda x, f: colour.blend(x, colour.luminance(x), f), vision.adjust_saturation),
    ],
)
def test_factors(ours: Callable[..., torch.Tensor], theirs: Callable[..., torch.Tensor]) -> None:
    frames = images()
    expected = torch.stack([theirs(one, f) for one, f in zip(frames, FACTORS, strict=True)])
    torch.testing.assert_close(ours(frames, each(FACTORS)), expected, atol=1e-5, rtol=0)


def test_hue() -> None:
    frames, turns = images(), [-0.5, -0.2, 0.0, 0.13, 0.5]
    expected = [vision.adjust_hue(one, turn) for one, turn in zip(frames, turns, strict=True)]
    found = colour.turn_hue(frames, each(turns))
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)


def test_blur() -> None:
    frames, sigmas = images(), [0.1, 0.5, 1.0, 1.5, 2.0]
    expected = [
        vision.gaussian_blur(one, [5, 5], [sigma, sigma])
        for one, sigma in zip(frames, sigmas, strict=True)
    ]
    found = colour.blur(frames, torch.tensor(sigmas))
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)


def test_colours_depend_on_the_generator_alone() -> None:
    frames = images(64, 24)
    one, same, other = (
        colour.change_colours(frames, np.random.default_rng(seed), 1.0, 0.5) for seed in (3, 3, 4)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1
    grey = ((one - one[:, :1]).abs().amax((1, 2, 3)) < 1e-6).sum()
    assert 4 <= grey <= 24  # a fifth of 64


def test_no_strength_changes_nothing() -> None:
    frames = images()
    assert torch.equal(colour.change_colours(frames, np.random.default_rng(0), 0.0, 0.0), frames)
