"""Silence and noise are negatives too: no image fits them (SSL-SaN, Juanola et al., BMVC 2025).

The contrast is EZ-VSL's. Each image's own sound is told from those of the batch and, beside them,
from silence and from white noise, which have no image. Each counts as one more sound: our
choice.
"""

from __future__ import annotations

from ..nets.model import Needs
from .ez_vsl import TERMS, similarity_map, terms

__all__ = ["NEEDS", "OPTIONS", "TERMS", "similarity_map", "terms"]

NEEDS = Needs(made=("silence", "noise"))
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
