"""CPU threads of commands that run trained networks: one or all, as a short trial has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...machine import Trial, granted_cores, parse_threads, try_threads
from ...stages.neighbors.faiss_kernel import load_faiss
from .. import output

_CHANNELS = 64
_SIDE = 56
_LAYERS = 8
_CLIPS = 4
"""As the first stage of a ResNet18 has it, for four frames of 224 pixels."""


@contextmanager
def network_threads(wanted: str, device: str) -> Iterator[None]:
    """Run networks with as many CPU threads as `--threads` says; set back what was before.

    On a GPU nothing is tried.

    Args:
        wanted: `auto` or a number.
        device: Where the networks run, as `--device` has it.
    """
    import torch

    before = torch.get_num_threads()
    number = parse_threads(wanted)
    if number is None:
        number = min(before, granted_cores())
        from ...devices import chosen_device

        if number > 1 and not chosen_device(device).startswith("cuda"):
            number = _faster(number)
    try:
        torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def search_threads(wanted: str) -> Iterator[None]:
    """Let FAISS search in as many threads as `--threads` says; set back what was before.

    `auto` is all that are granted: each thread searches for itself, none waits for another.
    """
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(parse_threads(wanted) or min(before, granted_cores()))
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faster(most: int) -> int:
    trial = try_network(most)
    if trial.threads < most:
        output.note(f"networks run with {trial.text('passes/s')}")
    return trial.threads


def seconds_per_pass(wanted: str) -> float:
    """Time a small network with as many CPU threads as `--threads` says."""
    import torch

    before = torch.get_num_threads()
    number = parse_threads(wanted)
    most = min(before, granted_cores()) if number is None else 1
    try:
        if most > 1:
            trial = try_network(most)
            return trial.seconds[trial.threads]
        torch.set_num_threads(number or 1)
        step = _network()
        step()
        began = time.perf_counter()
        step()
        return time.perf_counter() - began
    finally:
        torch.set_num_threads(before)


def try_network(most: int) -> Trial:
    """Try one thread and `most` on a small network; PyTorch is left with any of them."""
    import torch

    return try_threads(_network(), most, torch.set_num_threads)


def _network() -> Callable[[], object]:
    """Return a pass of a few convolutions with norms, on noise."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for _ in range(_LAYERS):
        layers += [
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(_CHANNELS),
            nn.ReLU(),
        ]
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(*layers).eval()
        frames = torch.rand(_CLIPS, _CHANNELS, _SIDE, _SIDE)

    def step() -> object:
        with torch.inference_mode():
            return network(frames)

    return step
