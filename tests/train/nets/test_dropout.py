"""Dropout beside PyTorch's own: the same share, the same scale, no pattern."""

import pytest
import torch
from avpipe.train.nets.dropout import Dropout
from torch import nn


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_kept_is_scaled_as_by_pytorch(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ones = torch.ones(64, 40, 7, 7, dtype=dtype)
    ours, theirs = Dropout(share)(ones), nn.Dropout(share)(ones)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    spread = (share * (1 - share) / ones.numel()) ** 0.5
    for dropped in (ours == 0, theirs == 0):
        assert abs(dropped.double().mean().item() - share) < 5 * spread + 1 / 65536
    found, expected = ours.max().item(), theirs.max().item()
    assert found == pytest.approx(expected, rel=1e-2 if dtype != torch.float32 else 2e-4)


def test_numbers_are_left_out_independently() -> None:
    torch.manual_seed(0)
    dropped = (Dropout(0.3)(torch.ones(200_000)) == 0).double()
    centred = dropped - dropped.mean()
    for lag in (1, 2, 3, 4, 5, 8, 16):
        together = (centred[:-lag] * centred[lag:]).mean() / centred.square().mean()
        assert abs(together.item()) < 5 / 200_000**0.5, lag


@pytest.mark.parametrize("shape", [(3, 5, 7, 2), (6, 11), (1,), (0, 4), (2, 3, 5)])
def test_gradients_reach_what_was_kept_alone(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    features = torch.rand(shape, dtype=torch.float64) + 1
    if len(shape) == 4:
        features = features.contiguous(memory_format=torch.channels_last)
    features.requires_grad_()
    given = features.transpose(-1, -2) if len(shape) == 3 else features
    found = Dropout(0.5)(given)
    found.sum().backward()
    assert torch.equal(found, given * (found != 0) * 2)
    assert features.grad is not None
    grad = features.grad.transpose(-1, -2) if len(shape) == 3 else features.grad
    assert torch.equal(grad, (found != 0) * 2.0)


def test_the_seed_decides_and_evaluation_leaves_all() -> None:
    features, layer = torch.rand(4, 6), Dropout(0.5)
    torch.manual_seed(3)
    first = layer(features)
    torch.manual_seed(3)
    assert torch.equal(layer(features), first)
    assert layer.eval()(features) is features
    assert Dropout(0)(features) is features
