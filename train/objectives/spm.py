"""Sound promotion, step 2: what matches the sound in an image is of the sound's class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .. import losses
from ..nets.model import Needs
from ..recipe import Recipe
from . import Seen, cosine_map, of_all_pairs

NEEDS = Needs(classes_of="objects")
TERMS = ("match", "object")
OPTIONS = {
    "sound_threshold": {
        "default": 0.65,
        "at_least": -1,
        "at_most": 1,
        "meaning": "cosine above which a cell sounds",
        "was": "sound_threshold",
    },
    "mask_temperature": {
        "default": 0.03,
        "above": 0,
        "meaning": "softness of the threshold",
        "was": "mask_temperature",
    },
}
REFUSES = {
    "views": {
        "values": ("neighbour", "multi"),
        "why": "views = {value!r} has sounds of other clips, and objective = 'spm' knows the class "
        "of a clip's own only: 'single' or 'augmented'",
    },
    "momentum": {
        "why": "momentum = {value:g}: objective = 'spm' classifies what is seen, and no gradient "
        "reaches momentum encoders: leave it at 0",
    },
}


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return the match of own and other sounds, and the class of the object that sounds.

    The paper leaves open how its losses add up; this is our reading.
    """
    assert seen.labels is not None
    labels, classify = seen.labels, seen.heads["objects"]
    softness = {
        "threshold": recipe.option("sound_threshold"),
        "temperature": recipe.option("mask_temperature"),
    }

    def loss(image: tuple[Tensor, ...], sound: tuple[Tensor, ...]) -> dict[str, Tensor]:
        visual, features, audio = image[0], image[1], sound[0]
        mask = losses.sounding_mask(visual, audio, **softness)
        logits = classify(losses.masked_mean(features, mask))
        return {
            **losses.match(visual, audio, **softness),
            "object": F.cross_entropy(logits, labels),
        }

    return of_all_pairs(
        seen,
        loss,
        lambda embedded: (embedded.visual[0], embedded.features.visual.float()),
        lambda embedded: embedded.audio,
    )


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Return the cosine map, `(B, h, w)`."""
    return cosine_map(visual[0], audio[0])
