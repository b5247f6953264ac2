"""Pretrained networks, run once: one file each, found by its name in `visual/` and `audio/`."""

from typing import Final, Literal

Precision = Literal["fp32", "bf16"]
"""What networks compute in on a CPU."""
FLOAT32: Final = "fp32"
