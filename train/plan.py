"""What happens at which step: functions of the seed and the step, of nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Attributes:
        recipe: `epochs` and the learning rate's settings are read.
        seed: Seed of order and views.
        num_clips: Clips trained on.
        batch_size: Clips per step; an epoch's incomplete batch is left out.
    """

    recipe: Recipe
    seed: int
    num_clips: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.num_clips // self.batch_size

    @property
    def num_steps(self) -> int:
        """Steps of the run."""
        return self.recipe.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, from 0."""
        return step // self.steps_per_epoch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of the clips in an epoch: a permutation of `num_clips`."""
        return np.random.default_rng((self.seed, 0, epoch)).permutation(self.num_clips)

    def rng(self, step: int) -> np.random.Generator:
        """Return the generator that a step draws from."""
        return np.random.default_rng((self.seed, 1, step))

    def picks(self, first_step: int) -> Iterator[NDArray[np.int64]]:
        """Yield the positions `(batch_size,)` of each step's clips, from `first_step` on."""
        order, known = np.zeros(0, np.int64), -1
        for step in range(first_step, self.num_steps):
            if self.epoch(step) != known:
                known = self.epoch(step)
                order = self.order(known)
            start = step % self.steps_per_epoch * self.batch_size
            yield order[start : start + self.batch_size]

    def learning_rate(self, step: int) -> float:
        """Return a step's learning rate: a linear warm-up, then constant or half a cosine to 0."""
        rate = self.recipe.lr * min(1.0, (step + 1) / max(1, self.recipe.warmup_steps))
        if self.recipe.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.num_steps))
        return rate
