"""Sound promotion, step 1: the encoder of sounds learns the number of each sound's cluster."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..model import Needs
from ..recipe import Recipe
from . import Seen

NEEDS = Needs(frames=False, classes_of="sounds")
TERMS = ("sound",)


def terms(seen: Seen, recipe: Recipe) -> dict[str, Tensor]:
    """Return the cross-entropy of the sounds' classes."""
    assert seen.labels is not None
    logits = seen.heads["sounds"](seen.online.features.audio.float())
    return {"sound": F.cross_entropy(logits, seen.labels)}


def similarity_map(visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
    """Refuse: this network has not learnt to see.

    Raises:
        InputError: Always.
    """
    raise InputError(
        "a run of spm-audio only hears; train `--recipe spm` with its sounds "
        "(--set audio_init=RUN) and localize with that"
    )
