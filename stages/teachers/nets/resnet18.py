"""ResNet18 as an encoder: pooled, without its head, for frames or spectrograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

HEADS = ("fc.", "fc_.", "avgpool.")
"""Names of heads over the pooled 512: a linear layer, or VGGSound's NetVLAD."""


def pooled_resnet18(in_channels: int, seed: int) -> nn.Module:
    """Return torchvision's ResNet18, `(B, in_channels, H, W)` to `(B, 512)`, seeded."""
    import torch
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: nn.Module = torchvision.models.resnet18(weights=None)
        if in_channels != 3:
            encoder.conv1 = torch.nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
    encoder.fc = torch.nn.Identity()
    return encoder.eval()
