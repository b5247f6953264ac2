"""Which frames and sounds go with the clips of a step: their own, or others that are alike."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from ...cache.store import Cache
from ..recipe import Recipe
from .batches import Pick
from .columns import Inputs, neighbor_rows


class Partners:
    """Draws what is seen and heard beside each clip's own frame and sound."""

    def __init__(
        self, cache: Cache, rows: NDArray[np.int64], recipe: Recipe, inputs: Inputs, *, frames: bool
    ) -> None:
        """Find who may partner whom.

        Args:
            cache: The cache.
            rows: Clips trained on; positions speak of them.
            recipe: `views`, `partners`, `nearest_share` and `num_neighbors` are read.
            inputs: The neighbours' stages.
            frames: Whether frames are needed at all.
        """
        self._rows = rows
        self._recipe = recipe
        self._frames = frames
        self._neighbors = {
            modality: neighbor_rows(cache, stage) for modality, stage in inputs.neighbors.items()
        }
        self._same_source: list[NDArray[np.int64]] = []
        if recipe.partners in ("source", "both"):
            self._same_source = _groups(cache, rows)

    def pick(self, positions: NDArray[np.int64], rng: np.random.Generator) -> Pick:
        """Draw the frames and sounds of a step.

        Args:
            positions: `(B,)` its clips.
            rng: Generator.

        Returns:
            For each clip a frame and a sound; if there is a neighbour's view, B more of each.
        """
        frames, sounds = positions, positions
        if self._recipe.partners in ("source", "both"):
            frames = np.array([rng.choice(self._same_source[at]) for at in positions.tolist()])
        if self._recipe.partners in ("nearest", "both"):
            nearest = self._draw("audio", positions, 1, rng)
            stands_in = rng.random(len(positions)) < self._recipe.nearest_share
            sounds = np.where(stands_in, nearest, positions)
        if "neighbour" in self._recipe.view_names:
            k = self._recipe.num_neighbors
            frames = np.concatenate([frames, self._draw("image", positions, k, rng)])
            sounds = np.concatenate([sounds, self._draw("audio", positions, k, rng)])
        return Pick(positions, frames if self._frames else frames[:0], sounds)

    def _draw(
        self, modality: str, positions: NDArray[np.int64], k: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw one of the k nearest of each clip, itself where it has none or is its own."""
        if modality not in self._neighbors:
            return positions
        share = rng.random(len(positions))
        drawn = positions.copy()
        for i, row in enumerate(self._rows[positions].tolist()):
            near = self._neighbors[modality][row][:k]
            known = int((near >= 0).sum())
            if known:
                drawn[i] = np.searchsorted(self._rows, near[int(share[i] * known)])
        return drawn


def _groups(cache: Cache, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return for each clip the positions of all clips cut from its video."""
    sources = [cache.manifest.line(row)["source"] for row in rows.tolist()]
    members: dict[str, list[int]] = defaultdict(list)
    for position, source in enumerate(sources):
        members[source].append(position)
    arrays = {source: np.array(positions) for source, positions in members.items()}
    return [arrays[source] for source in sources]
