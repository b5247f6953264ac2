"""Silence and noise are negatives too: no image fits them (SSL-SaN, Juanola et al., BMVC 2025).

The contrast is EZ-VSL's. Each image's own sound is told from those of the batch and, beside them,
from silence and from white noise, which have no image. How the paper weighs them was not to be
read; here each counts as one more sound.
"""

from __future__ import annotations

from torch import Tensor

from .. import losses
from ..nets.model import Needs
from ..recipe import Recipe
from . import Seen, cosine_map, split_views

NEEDS = Needs(made=("silence", "noise"))
TERMS = ("image_to_audio", "audio_to_image")
OPTIONS = {
    "silence": {"default": True, "meaning": "silence is among the sounds that no image fits"},
    "noise": {"default": True, "meaning": "so is white noise"},
    "noises": {
        "default": 4,
        "at_least": 1,
        "at_most": 64,
        "meaning": "noises of a step, drawn anew from 64",
    },
}


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return both directions; made sounds stand among those that images are compared with."""

    def loss(
        visual: tuple[Tensor, ...], audio: tuple[Tensor, ...], others: Tensor | None = None
    ) -> dict[str, Tensor]:
        return losses.ez_vsl(
            visual[0],
            audio[0],
            temperature=recipe.temperature,
            pooling=recipe.pooling,
            pooling_temperature=recipe.pooling_temperature,
            pooling_share=recipe.pooling_share,
            others=others,
        )

    online = [split_views(heads, seen.num_views) for heads in seen.online[:2]]
    target = [split_views(heads, seen.num_views) for heads in seen.target[:2]]
    made = seen.made[0] if seen.made else None
    forward = losses.over_pairs(lambda v, a: loss(v, a, made), online[0], target[1])
    same = seen.target is seen.online
    backward = forward if same else losses.over_pairs(loss, target[0], online[1])
    return {
        "image_to_audio": forward["image_to_audio"],
        "audio_to_image": backward["audio_to_image"],
    }


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the cosine map, `(B, h, w)`."""
    return cosine_map(visual[0], audio[0])
