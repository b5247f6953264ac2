"""SLAVC: localization times correspondence, against momentum encoders."""

from __future__ import annotations

from torch import Tensor

from .. import losses
from ..augment import Views
from ..model import Student
from ..recipe import Recipe
from . import cosine_map

NUM_HEADS = 2
TERMS = ("momentum_image", "momentum_audio")


def terms(student: Student, views: Views, recipe: Recipe) -> dict[str, Tensor]:
    """Return both terms; at `momentum = 0` the online encoders stand in for the others."""
    online = student.online(views.frames, views.spectrograms)
    target = student.embed_momentum(views.frames, views.spectrograms) or online
    return losses.slavc(
        (online.visual[0], online.visual[1]),
        (online.audio[0], online.audio[1]),
        (target.visual[0], target.visual[1]),
        (target.audio[0], target.audio[1]),
        form=recipe.slavc_form,
        temperature=recipe.temperature,
    )


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the mean of the two heads' cosine maps, `(B, h, w)` (the released code's map)."""
    return (cosine_map(visual[0], audio[0]) + cosine_map(visual[1], audio[1])) / 2
