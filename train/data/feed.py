"""What feeds a run: the batches of every step, drawn from this process's share of the clips."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ...cache.store import Cache
from ..nets.model import Needs
from ..schedule import Plan
from .batches import Batch, DataMode
from .clips import ClipReader, short_side
from .columns import BatchColumn, Inputs
from .partners import Partners
from .sources import open_source

Feed = Callable[[int], Iterator[Batch]]
"""From a run's first step to the batches of all steps from there on."""


class Timed:
    """Batches, and how long their reader waited for them."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        """Wait for nothing yet."""
        self._batches = batches
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        asked = time.monotonic()
        for batch in self._batches:
            self.waited_s += time.monotonic() - asked
            yield batch
            asked = time.monotonic()


def open_feed(
    cache: Cache,
    rows: NDArray[np.int64],
    plan: Plan,
    needs: Needs,
    inputs: Inputs,
    columns: Mapping[str, BatchColumn],
    *,
    mode: DataMode,
    device: torch.device,
    workers: int | None,
) -> tuple[Feed, str]:
    """Open the clips of a run.

    A process holds its share of the clips alone, unless any clip may become a partner.

    Args:
        cache: The cache.
        rows: All clips trained on.
        plan: The run's steps.
        needs: What the objective needs.
        inputs: What is read beside clips.
        columns: Its columns, as the network's heads take them.
        mode: See `sources.open_source`.
        device: Where the network is.
        workers: Threads that read; None for one per granted core, at most 8.

    Returns:
        The feed, and a line that says where the clips are held.
    """
    recipe = plan.recipe
    alone = recipe.partners == "own" and "neighbour" not in recipe.view_names
    held = rows[plan.rank :: plan.num_ranks] if alone else rows
    reader = ClipReader(
        cache,
        held,
        short_side(recipe.image_resize),
        columns,
        kind=recipe.spectrogram,
    )
    partners = Partners(cache, held, recipe, inputs, frames=needs.frames)
    source, line = open_source(reader, mode, device, workers, frames=needs.frames)
    share = np.arange(len(held)) if alone else np.array(plan.share)

    def feed(first_step: int) -> Iterator[Batch]:
        return source.batches(
            partners.pick(share[positions], plan.partner_rng(step))
            for step, positions in enumerate(plan.picks(first_step), first_step)
        )

    return feed, line
