"""Hints: the student's features become those of teachers (audio-visual distillation)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..losses import hint_mse
from ..recipe import Recipe
from .model import Features


def hint_heads(width: int, hint_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, nn.Module]:
    """Build the projections, used in training only, to hints of another width than the student's.

    Args:
        width: Of the student's projected features.
        hint_shapes: Shape of each hint: `(2048,)` of sounds, `(2048, 7, 7)` of frames.
    """
    return {
        name: nn.Conv2d(width, shape[0], 1) if len(shape) == 3 else nn.Linear(width, shape[0])
        for name, shape in hint_shapes.items()
        if shape[0] != width
    }


def hint_terms(
    projected: Features, hints: Mapping[str, Tensor], heads: nn.ModuleDict, recipe: Recipe
) -> dict[str, Tensor]:
    """Return the error of each hint; only the anchor view, the first B items, imitates.

    Args:
        projected: The student's features, `(V * B, D, h, w)` and `(V * B, D)`.
        hints: `audio_hint` `(B, C)` and `visual_hint` `(B, C, H, W)`, those there are.
        heads: From `hint_heads`.
        recipe: `hint_norm` is read.
    """
    terms = {}
    for name, hint in hints.items():
        features = projected.audio if name == "audio_hint" else projected.visual
        student = features[: len(hint)].float()
        if hint.ndim == 4:
            student = F.adaptive_avg_pool2d(student, (hint.shape[2], hint.shape[3]))
        if name in heads:
            student = heads[name](student)
        terms[name] = hint_mse(student, hint, recipe.hint_norm)
    return terms
