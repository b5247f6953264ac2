"""Validation: the loss of clips that are not trained on, with the weights that localize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cache.store import Cache
from ..errors import InputError, UsageError
from .data.augment import evaluation_views
from .data.batches import Pick, Stream
from .data.clips import whole_clips
from .data.columns import BatchColumn
from .learner import Learner
from .objectives import Objective
from .runs.board import Board
from .runs.journal import NonFiniteLossError
from .runs.metric_lines import append_lines

FILE = "validation.jsonl"


class Validation:
    """Clips held back, and the file that says how they fare after each epoch."""

    def __init__(
        self,
        cache: Cache,
        rows: NDArray[np.int64],
        learner: Learner,
        workers: int,
        folder: Path,
        board: Board | None = None,
        columns: Mapping[str, BatchColumn] | None = None,
    ) -> None:
        """Keep what to validate on.

        Args:
            cache: The cache.
            rows: The clips.
            learner: What learns.
            workers: Threads that read.
            folder: The run's.
            board: Gets the same lines, named `validation/...`.
            columns: Those of cached features, as the network's heads take them.
        """
        self._line = cache.manifest.line
        self._source = Stream(whole_clips(cache, rows, learner.plan.recipe, columns), workers)
        size = min(learner.plan.batch_size, len(rows))
        starts = range(0, len(rows) - size + 1, size)
        self._picks = [Pick.of(np.arange(at, at + size)) for at in starts]
        self._learner = learner
        self._path = folder / FILE
        self._board = board

    def after(self, step: int) -> None:
        """Validate after `step` steps if they end an epoch.

        Raises:
            NonFiniteLossError: A loss is not finite; the message names the clips.
        """
        plan = self._learner.plan
        if step % plan.steps_per_epoch == 0:
            line = {"step": step, "epoch": plan.epoch(step - 1) + 1, **self._losses(step)}
            append_lines(self._path, [line])
            if self._board:
                self._board.add([line], "validation/")

    def _losses(self, step: int) -> dict[str, float]:
        """Return the loss and its terms, means over batches of the training's size.

        The whole frame is seen and the centre heard; nothing is drawn.

        Raises:
            NonFiniteLossError: One is not finite.
        """
        learner, found = self._learner, dict[str, list[float]]()
        for batch in self._source.batches(self._picks):
            views = evaluation_views(batch, learner.plan.recipe, learner.device)
            for name, value in learner.losses.tested(views).items():
                if not value.isfinite():
                    clips = ", ".join(self._line(row)["id"] for row in batch.rows.tolist())
                    raise NonFiniteLossError(
                        f"validation after step {step}: {name} = {value.item():g}; lower lr, or "
                        f"leave out of --val-ids a clip of its batch: {clips}"
                    )
                found.setdefault(name, []).append(value.item())
        return {name: float(np.mean(values)) for name, values in found.items()}


def validation_rows(cache: Cache, ids: Sequence[str], objective: Objective) -> NDArray[np.int64]:
    """Return the clips to validate on.

    Raises:
        UsageError: The objective learns pseudo-labels, which they have none of.
        InputError: Fewer than two of them are in the cache.
    """
    if objective.NEEDS.classes_of:
        raise UsageError("--val-ids: this objective learns clusters; clips held back are in none")
    wanted = set(ids)
    pairs = zip(cache.rows.tolist(), cache.ids, strict=True)
    rows = [row for row, clip_id in pairs if clip_id in wanted]
    if len(rows) < 2:
        raise InputError(f"{cache.path} has {len(rows)} of the clips to validate on, 2 are needed")
    return np.array(rows, np.int64)
