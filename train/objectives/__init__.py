"""Objectives: one file each; the file name is the name a recipe uses."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from torch import Tensor

from ..recipe import Recipe

if TYPE_CHECKING:
    from ..augment import Views
    from ..model import Student


class Objective(Protocol):
    """What a file of this folder defines.

    Attributes:
        NUM_HEADS: Projections per modality that it needs.
        TERMS: Names of what `terms` returns; a recipe's `weights` speak of them.
    """

    NUM_HEADS: int
    TERMS: tuple[str, ...]

    def terms(self, student: Student, views: Views, recipe: Recipe) -> dict[str, Tensor]:
        """Return the unweighted scalar terms of one batch."""

    def similarity_map(self, visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
        """Return each image's map with its own sound, `(B, h, w)` in [-1, 1]."""


def load_objective(name: str) -> Objective:
    """Import the objective of that name (`recipe.objective_names`)."""
    return cast(Objective, importlib.import_module(f".{name.replace('-', '_')}", __name__))


def cosine_map(visual: Tensor, audio: Tensor) -> Tensor:
    """Return the cosine of every cell with the image's own sound.

    Args:
        visual: `(B, D, h, w)`, L2-normalised over D.
        audio: `(B, D)`, L2-normalised.

    Returns:
        `(B, h, w)`.
    """
    return (visual * audio[:, :, None, None]).sum(1)
