"""VGGSound's classifier H, average pooling: the neighbour search of multi-positive alignment."""

from __future__ import annotations

from ....weights import WeightFile
from ..nets.vggsound import COLUMNS, ORIGIN, PARAMS, prepare
from ..nets.vggsound import build_network as build

__all__ = ["COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "waveform"
FILES = (WeightFile("H.pth.tar", f"{ORIGIN}/H.pth.tar"),)
