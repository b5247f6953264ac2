"""Objectives: one file each; the file name is the name a recipe uses."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from ...errors import InputError, UsageError
from ..losses import over_pairs
from ..nets.model import Embeddings, Needs
from ..recipe import Recipe


class Seen(NamedTuple):
    """A batch as the networks see it; B clips, view after view.

    Attributes:
        online: Embeddings of the network that gradients reach.
        target: Of the momentum encoders; `online` itself where there are none.
        num_views: V; every embedding holds V * B items.
        labels: `(B,)` pseudo-labels of the sounds, None if the objective needs none.
        heads: What only training needs, by name.
        made: Of each head `(K, D)` sounds that belong to no image, of `target`; empty where the
            objective wants none, and where clips are validated on.
    """

    online: Embeddings
    target: Embeddings
    num_views: int
    labels: Tensor | None
    heads: nn.ModuleDict
    made: tuple[Tensor, ...] = ()


class Objective(Protocol):
    """What a file of this folder defines.

    Attributes:
        NEEDS: What it needs of the network and of a batch.
        TERMS: Names of what `terms` returns; a recipe's `weights` speak of them.

    A file may also declare `OPTIONS` and `REFUSES` (keys of a recipe that do not go with it), which
    `options.options_of` and `options.refusals_of` read without importing it.
    """

    NEEDS: Needs
    TERMS: tuple[str, ...]

    def terms(self, seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
        """Return the unweighted scalar terms of one batch."""

    def similarity_map(self, visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
        """Return each image's map with its own sound, `(B, h, w)` in [-1, 1].

        An objective that does not look at frames has none (`require_sight`).
        """


def load_objective(name: str) -> Objective:
    """Import the objective of that name (`recipe.objective_names`)."""
    return cast(Objective, importlib.import_module(f".{name.replace('-', '_')}", __name__))


def made_names(objective: Objective, recipe: Recipe) -> tuple[str, ...]:
    """Return the made sounds that an objective wants under a recipe's options."""
    return tuple(name for name in objective.NEEDS.made if recipe.option(name))


def require_sight(name: str) -> Objective:
    """Return an objective that looks at frames.

    Raises:
        InputError: It only classifies sounds: its runs have learnt nothing of a frame.
    """
    objective = load_objective(name)
    if not objective.NEEDS.frames:
        raise InputError(
            f"a run of {name} only classifies sounds, it only hears; train `--recipe spm` with its "
            "sounds (--set audio_init=RUN) and take that"
        )
    return objective


def head_number(objective: Objective, name: str, head: str) -> int:
    """Return which of an objective's projections a head is.

    Args:
        objective: The objective.
        name: What it is called.
        head: A name in its `HEADS`, which those with several projections define.

    Raises:
        UsageError: It has no such head.
    """
    heads: tuple[str, ...] = getattr(objective, "HEADS", ())
    if head not in heads:
        known = ", ".join(heads) or "only one"
        raise UsageError(f"--head {head}: objective {name} has {known}")
    return heads.index(head)


def cosine_map(visual: Tensor, audio: Tensor) -> Tensor:
    """Return the cosine of every cell with the image's own sound.

    Args:
        visual: `(B, D, h, w)`, L2-normalised over D.
        audio: `(B, D)`, L2-normalised.

    Returns:
        `(B, h, w)`.
    """
    return (visual * audio[:, :, None, None]).sum(1)


Select = Callable[[Embeddings], tuple[Tensor, ...]]
Loss = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], dict[str, Tensor]]


def of_all_pairs(seen: Seen, loss: Loss, visual: Select, audio: Select) -> dict[str, Tensor]:
    """Sum a loss of images with sounds over all pairs of views.

    With momentum encoders it is the mean of two such sums: of online images with momentum sounds,
    and the reverse, so that both encoders learn.

    Args:
        seen: The batch.
        loss: From one view of the images and one of the sounds to named terms.
        visual: What the loss takes of the images, `(V * B, ...)` each.
        audio: What it takes of the sounds.
    """
    online, target, num_views = seen[:3]
    pairs = [(online, target)] if target is online else [(online, target), (target, online)]
    sums = [
        over_pairs(loss, split_views(visual(one), num_views), split_views(audio(other), num_views))
        for one, other in pairs
    ]
    return {name: torch.stack([terms[name] for terms in sums]).mean() for name in sums[0]}


def split_views(heads: tuple[Tensor, ...], num_views: int) -> list[tuple[Tensor, ...]]:
    """Cut each head's `(V * B, ...)` into views: V tuples of `(B, ...)`, one for each head."""
    return list(zip(*(head.chunk(num_views) for head in heads), strict=True))
