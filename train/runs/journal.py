"""What training tells: losses in `metrics.jsonl`, progress, the clips of a bad batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import AvpipeError
from ..data.batches import Batch
from ..schedule import Plan
from .board import Board
from .metric_lines import append_lines

_READ_EVERY = 10
_READ_EVERY_S = 1.0
"""Steps and seconds between looks at the loss: each look makes the host wait for the device."""


class NonFiniteLossError(AvpipeError):
    """The loss, or a weight, is not a number any more."""

    exit_code = 4


@dataclass(frozen=True)
class TrainProgress:
    """Where training is.

    Attributes:
        step: Steps done.
        num_steps: Steps in all.
        epoch: Epoch of the last step, from 1.
        num_epochs: Epochs in all.
        loss: The last step's loss.
        steps_per_s: Over this call.
        clips_per_s: Over this call.
        eta_s: Seconds left at that rate.
    """

    step: int
    num_steps: int
    epoch: int
    num_epochs: int
    loss: float
    steps_per_s: float
    clips_per_s: float
    eta_s: float


class LossJournal:
    """Losses on their way from the device to `metrics.jsonl`, looked at every few steps."""

    def __init__(
        self,
        path: Path,
        plan: Plan,
        first_step: int,
        ids: Mapping[int, str],
        progress: Callable[[TrainProgress], None] | None,
        board: Board | None = None,
    ) -> None:
        """Begin to record.

        Args:
            path: The metrics' file; lines are added.
            plan: The run's steps.
            first_step: Step that this call begins with.
            ids: Row to id, for the message about a batch.
            progress: Called at every look.
            board: Gets the same lines.
        """
        self._path, self._plan, self._ids, self._progress = path, plan, ids, progress
        self._board = board
        self._waiting: list[tuple[int, NDArray[np.int64], dict[str, Tensor]]] = []
        self._first_step = first_step
        self._started = self._read_at = time.monotonic()
        self.loss = math.nan

    def add(self, step: int, batch: Batch, terms: dict[str, Tensor]) -> None:
        """Keep a step's loss and terms, still on the device."""
        self._waiting.append((step, batch.rows, terms))
        due = time.monotonic() - self._read_at >= _READ_EVERY_S
        if due or len(self._waiting) >= _READ_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what was kept, and stop if something of it is not finite.

        Raises:
            NonFiniteLossError: Naming step and clips.
            CacheUnwritableError: If the file cannot be written.
        """
        if not self._waiting:
            return
        values = torch.stack([torch.stack(list(terms.values())) for _, _, terms in self._waiting])
        lines: list[dict[str, float]] = []
        for (step, rows, terms), row in zip(self._waiting, values.tolist(), strict=True):
            named = dict(zip(terms, row, strict=True))
            if not all(map(math.isfinite, row)):
                append_lines(self._path, lines)
                found = ", ".join(f"{name} = {value:g}" for name, value in named.items())
                raise self._not_finite(step, rows, found)
            self.loss = named["loss"]
            facts = {"step": step + 1, "epoch": self._plan.epoch(step) + 1}
            lines.append({**facts, "lr": self._plan.learning_rate(step), **named})
        append_lines(self._path, lines)
        if self._board:
            self._board.add(lines)
        self._waiting.clear()
        self._read_at = time.monotonic()
        self._report(step + 1)

    def require_finite(self, step: int, batch: Batch, weights: Mapping[str, Tensor]) -> None:
        """See that the weights a step left are finite; its loss was of those before.

        Raises:
            NonFiniteLossError: Naming step, weight and clips.
        """
        for name, weight in weights.items():
            if not weight.isfinite().all():
                raise self._not_finite(step, batch.rows, f"{name} is not finite")

    def _report(self, done: int) -> None:
        if not self._progress:
            return
        plan = self._plan
        rate = (done - self._first_step) / max(time.monotonic() - self._started, 1e-9)
        self._progress(
            TrainProgress(
                step=done,
                num_steps=plan.num_steps,
                epoch=plan.epoch(done - 1) + 1,
                num_epochs=plan.recipe.epochs,
                loss=self.loss,
                steps_per_s=rate,
                clips_per_s=rate * plan.batch_size,
                eta_s=(plan.num_steps - done) / rate,
            )
        )

    def _not_finite(self, step: int, rows: NDArray[np.int64], found: str) -> NonFiniteLossError:
        clips = ", ".join(self._ids[row] for row in rows.tolist())
        return NonFiniteLossError(
            f"step {step + 1}: {found}; lower lr, or leave out a clip of its batch: {clips}"
        )
