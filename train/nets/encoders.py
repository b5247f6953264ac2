"""The convolutional encoders: ResNet18, MobileNetV2, and a compact one whose cells see little."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import MissingDependencyError
from ...weights import PRETRAINED, WeightFile, load_exact, read_checkpoint, resolve
from . import geometry

IMAGENET_NETWORK = "imagenet-resnet18"
IMAGENET = WeightFile(
    "resnet18-f37072fd.pth",
    "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "sha256:f37072fd",  # how it begins; the name says so
)
MOBILENET = WeightFile(
    "mobilenet_v2-b0353104.pth",
    "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
    "sha256:b0353104",
)
PRETRAINED_NETWORKS = {
    "resnet18": (IMAGENET_NETWORK, IMAGENET, ("fc.",)),
    "mobilenet-v2": ("mobilenet-v2", MOBILENET, ("classifier.",)),
}
"""By encoder of images: the network that `--weights` speaks of, its file, and its head's names."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that pads so that an odd kernel keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)


class Block(nn.Module):
    """Residual block of two convolutions, with torchvision's parameter names."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        kernels: tuple[int, int] = (3, 3),
        symmetric: bool = False,
    ) -> None:
        """Build a block.

        Args:
            inputs: Channels in.
            outputs: Channels out.
            stride: 1 or 2.
            kernels: Sizes of the two convolutions' kernels.
            symmetric: At stride 2 pool the shortcut over 2 x 2 cells. With an even first kernel
                both branches then place a cell in the middle of the cells it is made of; a
                strided 1 x 1 shortcut places it on the first of them.
        """
        super().__init__()
        self.conv1 = _conv(inputs, outputs, kernels[0], stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv(outputs, outputs, kernels[1])
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if symmetric and stride == 2:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(2), _conv(inputs, outputs, 1), nn.BatchNorm2d(outputs)
            )
        elif stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                _conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, h, w)` to `(B, outputs, h / stride, w / stride)`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu_(self.bn1(self.conv1(x)))
        return torch.relu_(self.bn2(self.conv2(x)) + shortcut)


class Encoder(nn.Sequential):
    """A stack, run as written."""

    num_features: int

    def __init__(self, layers: dict[str, nn.Module], num_features: int) -> None:
        """Keep the layers and initialise every convolution for the ReLU behind it."""
        super().__init__(OrderedDict(layers))
        self.num_features = num_features
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def cell_centres(self, size_px: int) -> NDArray[np.float64]:
        """Return where a map's cells lie along one side of a picture, as `geometry` tells."""
        return geometry.cell_centres(self, size_px)


def resnet18(
    in_channels: int = 3, width: int = 64, last_layer: int = 4, last_stride: int = 2
) -> Encoder:
    """ResNet18 up to its last map, with torchvision's parameter names (EZ-VSL, SLAVC).

    Args:
        in_channels: 3 for frames, 1 for spectrograms.
        width: Channels of the first layer; 64 in the papers.
        last_layer: The layer whose map is used, 2 to 4.
        last_stride: Stride of that layer; 1 doubles the map's side (LVS).

    Returns:
        `(B, in_channels, H, W)` to `(B, width * 2 ** (last_layer - 1), h, w)`; at the default depth
        and stride h is H / 32, rounded up.
    """
    layers: dict[str, nn.Module] = {
        "conv1": _conv(in_channels, width, 7, 2),
        "bn1": nn.BatchNorm2d(width),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(3, 2, 1),
    }
    inputs = outputs = width
    for number in range(1, last_layer + 1):
        stride = 1 if number == 1 else last_stride if number == last_layer else 2
        outputs = width << (number - 1)
        layers[f"layer{number}"] = nn.Sequential(
            Block(inputs, outputs, stride), Block(outputs, outputs)
        )
        inputs = outputs
    return Encoder(layers, outputs)


def compact(in_channels: int = 3, width: int = 32) -> Encoder:
    """Encoder of small pictures: stride 8, receptive field 28 px, cells placed symmetrically.

    A cell that sees 28 px cannot report an object from beside it, and even kernels keep the map
    aligned with the image, so neither offset of a plain ResNet arises.

    Args:
        in_channels: 3 for frames.
        width: Channels of the first layer.

    Returns:
        `(B, in_channels, H, W)` to `(B, 2 * width, H / 8, W / 8)`.
    """
    layers: dict[str, nn.Module] = {
        "conv1": _conv(in_channels, width, 6, 2),
        "bn1": nn.BatchNorm2d(width),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(2),
        "layer1": nn.Sequential(
            Block(width, width, kernels=(3, 1)), Block(width, width, kernels=(1, 1))
        ),
        "layer2": nn.Sequential(
            Block(width, 2 * width, 2, kernels=(4, 1), symmetric=True),
            Block(2 * width, 2 * width, kernels=(1, 1)),
        ),
    }
    return Encoder(layers, 2 * width)


def mobilenet_v2() -> Encoder:
    """MobileNetV2 up to its last map, torchvision's layers and parameter names.

    Returns:
        `(B, 3, H, W)` to `(B, 1280, H / 32, W / 32)`, rounded up; cell i lies on pixel 32 i.
    """
    from torchvision.models import mobilenet_v2 as network

    encoder = Encoder({"features": network(weights=None).features}, 1280)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):  # for one channel a group, `fan_out` counts too many
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return encoder


def load_imagenet(
    encoder: Encoder, specs: Sequence[str] = (PRETRAINED,), kind: str = "resnet18"
) -> str:
    """Give an encoder of images torchvision's ImageNet weights (IMAGENET1K_V1).

    Args:
        encoder: `resnet18()` of width 64, or `mobilenet_v2()`.
        specs: Where from, as `weights.resolve` takes it, under the network's name.
        kind: Which of `PRETRAINED_NETWORKS` it is.

    Returns:
        The digest of the weights.

    Raises:
        MissingDependencyError: If the file is missing, cannot be fetched or is another one.
    """
    network, file, head = PRETRAINED_NETWORKS[kind]
    try:
        weights = resolve(network, (file,), specs)
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{error}; `--set image_init=scratch` does without") from error
    for path in weights.paths:
        load_exact(encoder, read_checkpoint(path), path, ignore=head)
    return weights.digest
