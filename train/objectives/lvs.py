"""LVS: an image's sounding cells match its sound, its silent cells and other sounds do not."""

from __future__ import annotations

from torch import Tensor

from .. import losses
from ..nets.model import Needs
from ..recipe import Recipe
from . import Seen, cosine_map, of_all_pairs

NEEDS = Needs()
TERMS = ("tri_map",)
OPTIONS = {
    "form": {
        "default": "code",
        "choices": ("code", "paper"),
        "meaning": "code multiplies the own sound by -99 among the negatives; paper leaves it out",
        "was": "lvs_form",
    },
    "sound_threshold": {
        "default": 0.65,
        "at_least": -1,
        "at_most": 1,
        "meaning": "cosine above which a cell sounds",
        "was": "sound_threshold",
    },
    "silence_threshold": {
        "default": 0.4,
        "at_least": -1,
        "at_most": 1,
        "meaning": "cosine below which a cell is silent",
        "was": "silence_threshold",
    },
    "mask_temperature": {
        "default": 0.03,
        "above": 0,
        "meaning": "softness of both thresholds",
        "was": "mask_temperature",
    },
}


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return the contrast of images with sounds."""

    def loss(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return losses.lvs(
            visual[0],
            audio[0],
            form=recipe.option("form"),
            temperature=recipe.temperature,
            positive=recipe.option("sound_threshold"),
            negative=recipe.option("silence_threshold"),
            mask_temperature=recipe.option("mask_temperature"),
        )

    return of_all_pairs(
        seen, loss, lambda embedded: embedded.visual, lambda embedded: embedded.audio
    )


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the cosine map, `(B, h, w)`."""
    return cosine_map(visual[0], audio[0])
