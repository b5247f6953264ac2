"""EZ-VSL: the best cell of an image should match its own sound and no other."""

from __future__ import annotations

from torch import Tensor

from .. import losses
from ..nets.model import Needs
from ..recipe import Recipe
from . import Seen, cosine_map, split_views

NEEDS = Needs()
TERMS = ("image_to_audio", "audio_to_image")


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return both directions; with momentum encoders each contrasts with their embeddings.

    Made sounds, where there are any, stand among those that images are compared with.
    """

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
