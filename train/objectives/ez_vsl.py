"""EZ-VSL: the best cell of an image should match its own sound and no other."""

from __future__ import annotations

from torch import Tensor

from .. import losses
from ..augment import Views
from ..model import Student
from ..recipe import Recipe
from . import cosine_map

NUM_HEADS = 1
TERMS = ("image_to_audio", "audio_to_image")


def terms(student: Student, views: Views, recipe: Recipe) -> dict[str, Tensor]:
    """Return both directions; with momentum encoders each contrasts with their embeddings."""
    online = student.online(views.frames, views.spectrograms)
    target = student.embed_momentum(views.frames, views.spectrograms) or online
    forward = _loss(online.visual[0], target.audio[0], recipe)
    backward = forward if target is online else _loss(target.visual[0], online.audio[0], recipe)
    return {
        "image_to_audio": forward["image_to_audio"],
        "audio_to_image": backward["audio_to_image"],
    }


def _loss(visual: Tensor, audio: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    return losses.ez_vsl(
        visual,
        audio,
        temperature=recipe.temperature,
        pooling=recipe.pooling,
        pooling_temperature=recipe.pooling_temperature,
    )


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the cosine map, `(B, h, w)`."""
    return cosine_map(visual[0], audio[0])
