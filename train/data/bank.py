"""Silence and noise as the network takes them, made once; every step draws some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...cache.schema import AUDIO_RATE_HZ
from ...stages.spectrogram import FRONT_ENDS, log_spectrogram
from ...stages.teachers.live import LiveTeacher
from ..negatives.made import Made
from ..nets.cached import CachedEncoder
from ..nets.model import AudioVisualModel
from ..recipe import Recipe
from .augment import hear

NUM_NOISES = 64
"""Noises there are to draw from: of a teacher's features each costs a run of the teacher."""


@dataclass(frozen=True)
class Bank:
    """Made sounds, normalised spectrograms `(n, 1, F, T)` or cached features `(n, C)`.

    Attributes:
        silence: `(1, ...)`, or `(0, ...)`.
        noise: `(64, ...)`, or `(0, ...)`.
        num: Noises of a step.
    """

    silence: Tensor
    noise: Tensor
    num: int

    def draw(self, rng: np.random.Generator) -> Tensor:
        """Return silence and some noises."""
        if not len(self.noise):
            return self.silence
        chosen = rng.choice(len(self.noise), self.num, replace=False)
        return torch.cat([self.silence, self.noise[torch.from_numpy(chosen)]])


def made_bank(
    recipe: Recipe,
    names: Sequence[str],
    model: AudioVisualModel,
    weights: Sequence[str],
    device: torch.device,
) -> Bank | None:
    """Make the sounds that an objective wants beside those of the clips.

    Args:
        recipe: What is heard; its objective has an option `noises`, how many a step takes.
        names: Of `made.MADE`.
        model: The network, whose features may be a teacher's.
        weights: Where that teacher's weights come from, as `weights.resolve` takes it.
        device: Where the sounds are held.

    Returns:
        The sounds; None where none are wanted.

    Raises:
        MissingDependencyError: The teacher's weights are missing, or others than the cache's.
    """
    if not names:
        return None
    encoder = model.audio_encoder
    numbers = [f"training {i}" for i in range(NUM_NOISES)]

    @cache
    def teacher() -> LiveTeacher:
        assert isinstance(encoder, CachedEncoder)
        mine = encoder.cached
        return LiveTeacher(mine.teacher, mine.stage_version, mine.weights, weights, str(device))

    silence = made_inputs(recipe, model, teacher, numbers[:1], Made("silence"))
    noise = silence[:0]
    if "noise" in names:
        noise = made_inputs(recipe, model, teacher, numbers, Made("noise"))
    silence = silence if "silence" in names else silence[:0]
    return Bank(silence.to(device), noise.to(device), int(recipe.option("noises")))


def made_inputs(
    recipe: Recipe,
    model: AudioVisualModel,
    teacher: Callable[[], LiveTeacher],
    names: Sequence[str],
    made: Made,
) -> Tensor:
    """Return what a network takes of silence or noise: as training and as tests hear it.

    Args:
        recipe: What is heard.
        model: The network, whose features of sounds may be a teacher's.
        teacher: Gives that teacher; not called where there is none.
        names: What each sound is drawn for; silence comes once.
        made: The kind of sound.

    Returns:
        Normalised spectrograms `(n, 1, F, T)`, or features `(n, C)`.
    """
    encoder = model.audio_encoder
    if isinstance(encoder, CachedEncoder):
        length = round(teacher().window_s * AUDIO_RATE_HZ)
        sounds = made.sounds(names, length)
        features = [encoder.reduce(teacher().of_loud_sound(one)) for one in sounds]
        return torch.from_numpy(np.stack(features)).float()
    kind = recipe.spectrogram
    sounds = made.sounds(names, FRONT_ENDS[kind].window_samples)
    found = [log_spectrogram(one, kind) for one in sounds]
    return hear(torch.from_numpy(np.stack(found)), np.zeros(len(found), np.int64), recipe)
