"""One step of a recipe on noise, to know how long a training will take on this machine."""

from __future__ import annotations

import time

import numpy as np
import torch

from ..machine import AUTO, try_threads
from ..stages.spectrogram import FRONT_ENDS
from .data.batches import Batch
from .data.columns import Inputs
from .device import choose_device, cuda_devices, keep_freed_memory
from .learner import Learner, build_student
from .objectives import load_objective
from .recipe import Recipe
from .schedule import Plan
from .threads import Threads, most_threads, own_threads

_SIDE_PX = 256


def seconds_per_step(recipe: Recipe, device: str = AUTO, threads: Threads = AUTO) -> float:
    """Time a few steps of a recipe that reads nothing beside clips, on noise.

    Args:
        recipe: How to learn.
        device: `auto`, `cpu`, `cuda`, ...
        threads: As `train` takes it: on a CPU, `auto` is the faster of one and all.
    """
    place, objective = choose_device(device), load_objective(recipe.objective)
    plan = Plan(recipe, 0, recipe.batch_size, recipe.batch_size)
    with torch.random.fork_rng(cuda_devices(place)), own_threads():
        student = build_student(recipe, objective, 0, Inputs()).to(place).train()
        learner, batch = Learner(plan, objective, student, place), noise_batch(recipe)

        def step() -> None:
            float(learner.learn(0, batch)["loss"])  # a GPU is waited for

        if place.type == "cpu":
            keep_freed_memory()
            if isinstance(threads, int):
                torch.set_num_threads(threads)
            most = most_threads() if threads == "auto" else 1
            if most > 1:
                trial = try_threads(step, most, torch.set_num_threads)
                return trial.seconds[trial.threads]
        step()
        started = time.perf_counter()
        step()
        return time.perf_counter() - started


def noise_batch(recipe: Recipe) -> Batch:
    """Return a batch as a feed gives it, of noise."""
    rng, size = np.random.default_rng(0), recipe.batch_size
    front_end = FRONT_ENDS[recipe.spectrogram]
    columns = front_end.wide_columns
    frames = rng.integers(0, 256, (size, _SIDE_PX, _SIDE_PX, 3), np.uint8)
    spectrograms = rng.normal(-10, 4, (size, front_end.num_bins, columns)).astype(np.float16)
    return Batch(
        rows=np.arange(size),
        frames=torch.from_numpy(frames),
        frame_hw=np.full((size, 2), _SIDE_PX),
        spectrograms=torch.from_numpy(spectrograms),
        valid_cols=np.tile((0, columns), (size, 1)),
        columns={},
    )
