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
        rank: Number of this process among those that train; each has a share of the clips, every
            `num_ranks`-th, and of each batch.
        num_ranks: How many there are.
    """

    recipe: Recipe
    seed: int
    num_clips: int
    batch_size: int
    rank: int = 0
    num_ranks: int = 1

    @property
    def share(self) -> range:
        """Positions of this process's clips among all."""
        return range(self.rank, self.num_clips, self.num_ranks)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return (self.num_clips // self.num_ranks) // (self.batch_size // self.num_ranks)

    @property
    def num_steps(self) -> int:
        """Steps of the run."""
        return self.recipe.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, from 0."""
        return step // self.steps_per_epoch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of this process's clips in an epoch: a permutation of its share."""
        return self._rng(0, epoch).permutation(len(self.share))

    def rng(self, step: int) -> np.random.Generator:
        """Return the generator that a step draws from."""
        return self._rng(1, step)

    def partner_rng(self, step: int) -> np.random.Generator:
        """Return the generator that a step draws its clips' partners from."""
        return self._rng(2, step)

    def _rng(self, what: int, when: int) -> np.random.Generator:
        """Return the generator of one purpose at one time, in each process another."""
        mine = (self.rank,) if self.num_ranks > 1 else ()
        return np.random.default_rng((self.seed, what, when, *mine))

    def picks(self, first_step: int) -> Iterator[NDArray[np.int64]]:
        """Yield the clips of each step from `first_step` on, as positions in this share: `(B,)`."""
        size = self.batch_size // self.num_ranks
        order, known = np.zeros(0, np.int64), -1
        for step in range(first_step, self.num_steps):
            if self.epoch(step) != known:
                known = self.epoch(step)
                order = self.order(known)
            start = step % self.steps_per_epoch * size
            yield order[start : start + size]

    def learning_rate(self, step: int) -> float:
        """Return a step's learning rate: a linear warm-up, then constant or half a cosine to 0."""
        rate = self.recipe.lr * min(1.0, (step + 1) / max(1, self.recipe.warmup_steps))
        if self.recipe.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.num_steps))
        return rate
