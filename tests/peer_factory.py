"""The peers' networks built of torchvision's, and files as released, with random weights."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = {"ez-vsl": ("",), "slavc": ("1", "2")}


class Released(nn.Module):
    """EZ-VSL and SLAVC: two ResNet18 without their last layers, and `heads` projections each."""

    def __init__(self, heads: tuple[str, ...]) -> None:
        super().__init__()
        self.imgnet = torchvision.models.resnet18(weights=None)
        self.audnet = torchvision.models.resnet18(weights=None)
        self.audnet.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        for network in (self.imgnet, self.audnet):
            network.avgpool = network.fc = nn.Identity()
        for head in heads:
            setattr(self, f"img_proj{head}", nn.Conv2d(512, 512, 1))
            setattr(self, f"aud_proj{head}", nn.Linear(512, 512))
        self.heads = heads

    def embed(self, frames: Tensor, sounds: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        side, columns = -(-frames.shape[-1] // 32), -(-sounds.shape[-1] // 32)
        seen = self.imgnet(frames).reshape(len(frames), 512, side, side)
        heard = self.audnet(sounds).reshape(len(sounds), 512, -1, columns).amax((2, 3))
        visual = [F.normalize(getattr(self, f"img_proj{head}")(seen)) for head in self.heads]
        audio = [F.normalize(getattr(self, f"aud_proj{head}")(heard)) for head in self.heads]
        return visual, audio


class LvsNet(nn.Module):
    """LVS's ResNet18: layer 4 without stride, first layers of three modalities, a classifier."""

    def __init__(self, first: str) -> None:
        super().__init__()
        base = torchvision.models.resnet18(weights=None)
        base.layer4[0].conv1.stride = base.layer4[0].downsample[0].stride = (1, 1)
        self.conv1 = base.conv1
        self.conv1_a = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.conv1_flow = nn.Conv2d(6, 64, 7, 2, 3, bias=False)
        self.bn1, self.fc = base.bn1, nn.Linear(512, 1000)
        self.layer1, self.layer2 = base.layer1, base.layer2
        self.layer3, self.layer4 = base.layer3, base.layer4
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(getattr(self, self.first)(x))), 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x


class Lvs(nn.Module):
    """LVS and the released networks of alignment: features are compared as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.imgnet, self.audnet = LvsNet("conv1"), LvsNet("conv1_a")

    def embed(self, frames: Tensor, sounds: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        heard = F.adaptive_max_pool2d(self.audnet(sounds), 1)[:, :, 0, 0]
        return [F.normalize(self.imgnet(frames))], [F.normalize(heard)]


@cache
def network_of(peer: str) -> Any:
    """Build a peer's network with random weights and statistics; do not change it."""
    torch.manual_seed(0)
    network = Released(HEADS[peer]) if peer in HEADS else Lvs()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(7)
    return network.eval()


def slower(network: Any) -> Any:
    """Return other weights: those of the momentum encoders."""
    slow = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in slow.parameters():
            parameter.mul_(1.05).add_(0.01)
    return slow


def released_state(peer: str, network: Any, slow: Any = None) -> dict[str, Tensor]:
    """Return tensors by their released names, with the prefix of `DataParallel`."""
    state = dict(network.state_dict())
    if slow is not None:
        state |= {f"momentum_{name}": value for name, value in slow.state_dict().items()}
    prefix = "" if peer == "ssl-alignment" else "module."
    return {prefix + name: value for name, value in state.items()}


def write_released(folder: Path, peer: str, network: Any, slow: Any = None) -> Path:
    """Write a file as the peer's training leaves it."""
    name = "ours_sup_previs.pth.tar" if peer == "ssl-alignment" else "best.pth"
    state = released_state(peer, network, slow)
    if peer in HEADS:
        beside = {"optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "epoch": 3}
        content = {"model": state, **beside, "best_cIoU": np.float64(0.4)}
    else:
        content = {"model_state_dict": state, "epoch": 3}
    torch.save(content, folder / name)
    return folder / name


def cosine_maps(network: Any, frames: Tensor, sounds: Tensor) -> np.ndarray:
    """Return the mean of the heads' cosine maps, `(B, h, w)`: the released map times tau."""
    with torch.inference_mode():
        visual, audio = network.embed(frames, sounds)
    maps = [
        np.einsum("ndhw,nd->nhw", v.double().numpy(), a.double().numpy())
        for v, a in zip(visual, audio, strict=True)
    ]
    return np.mean(maps, axis=0)
