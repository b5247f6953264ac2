import numpy as np
import pytest
import torch
import torchvision
from avpipe.train.nets.encoders import compact, resnet18
from avpipe.train.nets.geometry import Geometry, Kernel, cell_centres, upsample
from torch import nn
from torch.nn import functional as F


def linear(encoder: nn.Module) -> nn.Module:
    """The same layers with equal weights, so that a gradient shows the receptive field itself."""
    for name, child in list(encoder.named_children()):
        if isinstance(child, nn.MaxPool2d):
            assert child.dilation == 1
            pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
            setattr(encoder, name, pool)
        else:
            linear(child)
    for parameter in encoder.parameters():
        nn.init.constant_(parameter, 0.1)
    return encoder.double().eval()


def probed_centre(encoder: nn.Module, size: int, cell: int) -> float:
    """Centre of mass of a cell's gradient along the rows of the image."""
    image = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    features = encoder(image)
    (gradient,) = torch.autograd.grad(features[0, :, cell, cell].sum(), image)
    rows = gradient[0].sum((0, 2))
    return float((rows * torch.arange(size)).sum() / rows.sum())


def mixed_stack() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 2, 5, 3, 1),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(2, 2, 3, 1, 0, dilation=2),
        nn.AvgPool2d(3, 1, 1),
        nn.Conv2d(2, 2, 2, 2, 1),
    )


@pytest.mark.parametrize(
    ("encoder", "size", "cells"),
    [
        (lambda: nn.Sequential(*list(torchvision.models.resnet18().children())[:-2]), 640, (9, 11)),
        (lambda: resnet18(width=4), 640, (9, 10)),
        (lambda: resnet18(width=4, last_stride=1), 640, (19, 20)),
        (lambda: resnet18(width=4, last_layer=3), 480, (15, 16)),
        (lambda: compact(3, 4), 96, (4, 7)),
        (mixed_stack, 160, (5, 7)),
    ],
    ids=["torchvision", "resnet18", "last_stride=1", "last_layer=3", "compact", "mixed"],
)
def test_centres_equal_the_probed_ones(encoder, size, cells) -> None:  # type: ignore[no-untyped-def]
    network = encoder()
    centres = cell_centres(network, size)
    probe = linear(network)
    assert len(centres) == probe(torch.ones(1, 3, size, size).double()).shape[2]
    for cell in cells:
        assert centres[cell] == pytest.approx(probed_centre(probe, size, cell), abs=1e-6)


def test_resnet18_cells_lie_at_multiples_of_the_stride() -> None:
    assert cell_centres(resnet18(width=1), 224).tolist() == [32.0 * i for i in range(7)]


def test_compact_cells_lie_in_the_middle_of_tiles() -> None:
    assert cell_centres(compact(3, 1), 96).tolist() == [8 * i + 3.5 for i in range(12)]


@pytest.mark.parametrize(("kernel", "mode"), [("linear", "bilinear"), ("bicubic", "bicubic")])
@pytest.mark.parametrize(("geometry", "align"), [("cell-centred", False), ("corners", True)])
def test_upsampling_equals_torchs(
    geometry: Geometry, align: bool, kernel: Kernel, mode: str
) -> None:
    maps = np.random.default_rng(0).standard_normal((3, 7, 5)).astype(np.float32)
    expected = F.interpolate(
        torch.from_numpy(maps)[:, None], (224, 100), mode=mode, align_corners=align
    )[:, 0]
    found = upsample(maps, (224, 100), geometry, kernel=kernel)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kernel", ["linear", "bicubic"])
def test_one_cell_fills_the_picture(kernel: Kernel) -> None:
    found = upsample(np.full((1, 1, 1), 0.5, np.float32), (4, 4), "cell-centred", kernel=kernel)
    np.testing.assert_allclose(found, 0.5, atol=1e-6)


def test_straight_cells_need_no_correction() -> None:
    maps = np.random.default_rng(0).standard_normal((2, 12, 12)).astype(np.float32)
    centres = cell_centres(compact(3, 1), 96)
    found = upsample(maps, (224, 224), "rf-centred", centres, 96)
    np.testing.assert_allclose(found, upsample(maps, (224, 224), "cell-centred"), atol=1e-5)


@pytest.mark.parametrize("size", [224, 448, 100])
def test_a_cell_appears_at_its_receptive_field(size: int) -> None:
    maps = np.zeros((1, 7, 7), np.float32)
    maps[0, 2, 5] = 1
    centres = cell_centres(resnet18(width=1), 224)
    found = upsample(maps, (size, size), "rf-centred", centres, 224)[0]
    weight = found / found.sum()
    place = (weight.sum(1) @ np.arange(size), weight.sum(0) @ np.arange(size))
    expected = (np.array([64, 160]) + 0.5) * size / 224 - 0.5
    np.testing.assert_allclose(place, expected, atol=0.05)


def test_centres_are_required_and_must_fit() -> None:
    maps = np.zeros((1, 7, 7), np.float32)
    with pytest.raises(ValueError, match="7 centres"):
        upsample(maps, (224, 224))
    with pytest.raises(ValueError, match="7 centres"):
        upsample(maps, (224, 224), "rf-centred", np.arange(6.0), 224)
