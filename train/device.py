"""Where a network runs, and in which precision."""

from __future__ import annotations

import ctypes

import torch

from ..devices import usable_device


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the GPU where there is one.

    Raises:
        UsageError: If there is no such device.
    """
    device = torch.device(usable_device(name))
    if device.type == "cuda":  # by default convolutions, a head too, keep 10 bits of 23
        torch.backends.cudnn.allow_tf32 = False
    return device


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return what the encoders compute in; `auto` takes bf16 where the hardware has it."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def cuda_devices(device: torch.device) -> list[int]:
    """Return the device in the form that `torch.random.fork_rng` takes."""
    return [torch.cuda.current_device()] if device.type == "cuda" else []


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next step; nothing happens under another C library.

    By default it gives large blocks back to the kernel at once and gets them again as fresh zeroed
    pages: a third of a training step on the CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _MALLOC_OPTIONS:
            mallopt(option, value)


_MALLOC_OPTIONS = (
    (-3, 1 << 30),  # M_MMAP_THRESHOLD: smaller blocks come from the heap
    (-1, (1 << 31) - 1),  # M_TRIM_THRESHOLD: the heap does not shrink before
    (-2, 1 << 26),  # M_TOP_PAD: and grows by this much
)
