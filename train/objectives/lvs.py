"""LVS: an image's sounding cells match its sound, its silent cells and other sounds do not."""

from __future__ import annotations

from torch import Tensor

from .. import losses
from ..model import Needs
from ..recipe import Recipe
from . import Seen, cosine_map, of_all_pairs

NEEDS = Needs()
TERMS = ("tri_map",)


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return the contrast of images with sounds."""

    def loss(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return losses.lvs(
            visual[0],
            audio[0],
            form=recipe.lvs_form,
            temperature=recipe.temperature,
            positive=recipe.sound_threshold,
            negative=recipe.silence_threshold,
            mask_temperature=recipe.mask_temperature,
        )

    return of_all_pairs(
        seen, loss, lambda embedded: embedded.visual, lambda embedded: embedded.audio
    )


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the cosine map, `(B, h, w)`."""
    return cosine_map(visual[0], audio[0])
