"""Sound promotion, step 1: the encoder of sounds learns the number of each sound's cluster."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..nets.model import Needs
from ..recipe import Recipe
from . import Seen

NEEDS = Needs(frames=False, classes_of="sounds")
TERMS = ("sound",)
REFUSES = {
    "views": {"why": "objective = 'spm-audio' only classifies sounds: it takes no views"},
    "partners": {"why": "objective = 'spm-audio' only classifies sounds: it takes no partners"},
    "hints": {"why": "objective = 'spm-audio' only classifies sounds: it takes no hints"},
    "momentum": {"why": "objective = 'spm-audio' only classifies sounds: it takes no momentum"},
}


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return the cross-entropy of the sounds' classes."""
    assert seen.labels is not None
    logits = seen.heads["sounds"](seen.online.features.audio.float())
    return {"sound": F.cross_entropy(logits, seen.labels)}
