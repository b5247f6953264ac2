"""Cross-modal alignment: maps and whole features of all pairs of views agree."""

from __future__ import annotations

from torch import Tensor

from .. import losses
from ..nets.model import Needs
from ..recipe import Recipe
from . import Seen, cosine_map, of_all_pairs

NEEDS = Needs(pooled=True)
TERMS = ("localization", "alignment")


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return the contrast of images with sounds by s_L and by s_A."""

    def loss(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return losses.alignment(
            visual[0],
            audio[0],
            visual[1],
            audio[1],
            temperature=recipe.temperature,
            pooling=recipe.pooling,
            pooling_temperature=recipe.pooling_temperature,
            pooling_share=recipe.pooling_share,
        )

    return of_all_pairs(
        seen,
        loss,
        lambda embedded: (embedded.visual[0], embedded.pooled[0]),
        lambda embedded: (embedded.audio[0], embedded.pooled[1]),
    )


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the cosine map, `(B, h, w)`."""
    return cosine_map(visual[0], audio[0])
