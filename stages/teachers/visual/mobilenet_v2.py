"""MobileNetV2 (Sandler et al. 2018, ImageNet) as torchvision stores it: the last map.

A map of the whole frame, 7 x 7 cells at 224 px and 14 x 14 at 448; averaged, it compares frames.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from ....errors import UsageError
from ....weights import WeightFile, Weights, load_exact, read_checkpoint
from ..nets.images import PARAMS as SEEN
from ..nets.images import SIZE_PX, normalized
from ..nets.images import squash as prepare
from ..protocol import Cells, Network, SizedTeacher

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "CELLS", "COLUMNS", "FILES", "OTHER_FILES", "PARAMS", "READS", "VERSION",
    "at_size", "build", "load_features", "prepare",
]  # fmt: skip

STRIDE_PX = 32
NUM_CHANNELS = 1280
SMALLEST_PX, LARGEST_PX = 96, 1024

VERSION = 1
READS: Literal["frame"] = "frame"
CELLS: Cells = "corners"
COLUMNS = {"value": ("<f2", (NUM_CHANNELS, SIZE_PX // STRIDE_PX, SIZE_PX // STRIDE_PX))}
PARAMS = {**SEEN, "cells": CELLS}
_ORIGIN = "https://download.pytorch.org/models"
FILES = (
    WeightFile(
        "mobilenet_v2-b0353104.pth",
        f"{_ORIGIN}/mobilenet_v2-b0353104.pth",
        "sha256:b0353104",  # how it begins; the name says so
    ),
)
OTHER_FILES = (
    WeightFile(
        "mobilenet_v2-7ebf99e0.pth", f"{_ORIGIN}/mobilenet_v2-7ebf99e0.pth", "sha256:7ebf99e0"
    ),
)
"""Trained anew with more augmentation, torchvision's IMAGENET1K_V2; given with `--weights`."""


def at_size(size_px: int) -> SizedTeacher:
    """Return the teacher that sees frames at `size_px`: `(1280, n, n)`, n a 32nd of that.

    Raises:
        UsageError: It is no size for it.
    """
    if size_px % STRIDE_PX or not SMALLEST_PX <= size_px <= LARGEST_PX or size_px == SIZE_PX:
        raise UsageError(
            f"mobilenet-v2 sees frames at {SIZE_PX} px, or at another multiple of {STRIDE_PX} from "
            f"{SMALLEST_PX} to {LARGEST_PX} px; {size_px} is none"
        )
    num_cells = size_px // STRIDE_PX
    return SizedTeacher(
        VERSION,
        READS,
        {"value": ("<f2", (NUM_CHANNELS, num_cells, num_cells))},
        {**PARAMS, "image_size": size_px},
        FILES,
        CELLS,
        partial(prepare, size_px=size_px),
        build,
    )


def build(weights: Weights, device: str) -> Network:
    """Return `(B, S, S, 3)` uint8 -> `value` `(B, 1280, S / 32, S / 32)` float16, from 0 to 6.

    Raises:
        MissingDependencyError: If the file is not that of a MobileNetV2.
    """
    import torch

    features = load_features(weights).to(device)

    @torch.inference_mode()
    def network(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {"value": features(normalized(frames, device)).half().cpu().numpy()}

    return network


def load_features(weights: Weights) -> nn.Module:
    """Return torchvision's layers up to the last map, `(B, 3, S, S)` to `(B, 1280, n, n)`.

    Raises:
        MissingDependencyError: As `build` does.
    """
    import torch
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed or 0)
        model = torchvision.models.mobilenet_v2(weights=None)
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):  # as torchvision draws them all maps are 0
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    model.classifier = torch.nn.Identity()
    for path in weights.paths:
        load_exact(model, read_checkpoint(path), path, ignore=("classifier.",))
    features: nn.Module = model.features.eval()
    return features
