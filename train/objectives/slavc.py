"""SLAVC: localization times correspondence, against momentum encoders."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import losses
from ..nets.model import Needs
from ..recipe import Recipe
from . import Seen, cosine_map, split_views

NEEDS = Needs(heads=2)
TERMS = ("momentum_image", "momentum_audio")
HEADS = ("correspondence", "localization")
OPTIONS = {
    "form": {
        "default": "code",
        "choices": ("code", "paper"),
        "meaning": "code sums over cells; paper takes the best cell, one term over images",
        "was": "slavc_form",
    },
}


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return both terms; at `momentum = 0` the online encoders stand in for the others."""

    def loss(visual: tuple[Any, Any], audio: tuple[Any, Any]) -> dict[str, Tensor]:
        return losses.slavc(
            visual[0], audio[0], visual[1], audio[1],
            form=recipe.option("form"), temperature=recipe.temperature,
        )  # fmt: skip

    visual, audio = (
        [split_views(heads, seen.num_views) for heads in both]
        for both in ((seen.online.visual, seen.target.visual),
                     (seen.online.audio, seen.target.audio))
    )  # fmt: skip
    return losses.over_pairs(loss, list(zip(*visual, strict=True)), list(zip(*audio, strict=True)))


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the mean of the two heads' cosine maps, `(B, h, w)` (the released code's map)."""
    return (cosine_map(visual[0], audio[0]) + cosine_map(visual[1], audio[1])) / 2
