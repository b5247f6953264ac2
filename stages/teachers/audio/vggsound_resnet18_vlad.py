"""VGGSound's classifier I, trained under NetVLAD: another neighbour search by sound."""

from __future__ import annotations

from ....weights import WeightFile
from ..nets.vggsound import COLUMNS, ORIGIN, PARAMS, prepare
from ..nets.vggsound import build_network as build

__all__ = ["COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "prepare"]

VERSION = 1
READS = "waveform"
FILES = (WeightFile("I.pth.tar", f"{ORIGIN}/I.pth.tar"),)
