"""The audio-visual network: two encoders, projection heads, and the averaged copies beside it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoders import compact, resnet18
from .recipe import Recipe


class Embeddings(NamedTuple):
    """One embedding per head, L2-normalised over D.

    Attributes:
        visual: For each head `(B, D, h, w)`.
        audio: For each head `(B, D)`.
    """

    visual: tuple[Tensor, ...]
    audio: tuple[Tensor, ...]


class AudioVisualModel(nn.Module):
    """Encoders of frames and spectrograms into a common space."""

    def __init__(self, recipe: Recipe, num_heads: int) -> None:
        """Build the network with random weights.

        Args:
            recipe: Its network parts are read.
            num_heads: Projections per modality: 1 for EZ-VSL, 2 for SLAVC.
        """
        super().__init__()
        if recipe.image_encoder == "compact":
            self.image_encoder = compact(3, recipe.width)
        else:
            self.image_encoder = resnet18(3, recipe.width, recipe.last_layer, recipe.last_stride)
        self.audio_encoder = resnet18(1, recipe.width)
        features = self.image_encoder.num_features, self.audio_encoder.num_features
        self.image_heads = nn.ModuleList(
            nn.Conv2d(features[0], recipe.embed_dim, 1) for _ in range(num_heads)
        )
        self.audio_heads = nn.ModuleList(
            nn.Linear(features[1], recipe.embed_dim) for _ in range(num_heads)
        )
        for head in (*self.image_heads, *self.audio_heads):
            nn.init.xavier_uniform_(head.weight)
            nn.init.zeros_(head.bias)
        self.visual_dropout = nn.Dropout(recipe.visual_dropout)
        self.audio_dropout = nn.Dropout(recipe.audio_dropout)

    def embed_frames(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Embed normalised frames `(B, 3, S, S)`: for each head `(B, D, h, w)`."""
        features = self.image_encoder(frames.contiguous(memory_format=torch.channels_last))
        return self._project(self.visual_dropout(features), self.image_heads)

    def embed_spectrograms(self, spectrograms: Tensor) -> tuple[Tensor, ...]:
        """Embed normalised spectrograms `(B, 1, F, T)`: for each head `(B, D)`."""
        features = self.audio_encoder(spectrograms.contiguous(memory_format=torch.channels_last))
        return self._project(self.audio_dropout(features.amax((2, 3))), self.audio_heads)

    def forward(self, frames: Tensor, spectrograms: Tensor) -> Embeddings:
        """Embed both; see `embed_frames` and `embed_spectrograms`."""
        return Embeddings(self.embed_frames(frames), self.embed_spectrograms(spectrograms))

    @staticmethod
    def _project(features: Tensor, heads: nn.ModuleList) -> tuple[Tensor, ...]:
        with torch.autocast(features.device.type, enabled=False):  # cosines in full precision
            full = features.float()
            return tuple(F.normalize(head(full), dim=1) for head in heads)


def build_model(recipe: Recipe, num_heads: int, seed: int) -> AudioVisualModel:
    """Build the network with weights drawn from `seed`, in channels-last order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AudioVisualModel(recipe, num_heads)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own gap
    return model


class Student(nn.Module):
    """What is trained, and its averaged copies. Its state dict is what a checkpoint holds."""

    def __init__(self, online: AudioVisualModel, recipe: Recipe) -> None:
        """Copy the network for the averages that the recipe asks for.

        Args:
            online: The network that gradients reach.
            recipe: `momentum` above 0 adds the momentum encoders, `ema` above 0 the test copy.
        """
        super().__init__()
        self.online = online
        self.momentum = _frozen_copy(online) if recipe.momentum else None
        self.ema = _frozen_copy(online) if recipe.ema else None
        self._recipe = recipe

    def copy_online(self) -> None:
        """Set the averaged copies to the online network, after weights were loaded into it."""
        for average in (self.momentum, self.ema):
            if average is not None:
                average.load_state_dict(self.online.state_dict())

    def update_momentum(self) -> None:
        """Move the momentum encoders towards the online ones: parameters only (SLAVC, section 3.3).

        Their batch norms keep statistics of their own activations: they run in training mode.
        """
        if self.momentum is not None:
            _lerp(self.momentum.parameters(), self.online.parameters(), self._recipe.momentum)

    @torch.no_grad()
    def embed_momentum(self, frames: Tensor, spectrograms: Tensor) -> Embeddings | None:
        """Embed with the momentum encoders, None without them; dropout and norms as in training."""
        return None if self.momentum is None else self.momentum(frames, spectrograms)

    def update_ema(self, step: int) -> None:
        """Move the test copy, parameters and statistics; its memory is short in early steps."""
        if self.ema is not None:
            keep = min(self._recipe.ema, (step + 1) / (step + 10))
            _lerp(self.ema.parameters(), self.online.parameters(), keep)
            pairs = list(zip(self.ema.buffers(), self.online.buffers(), strict=True))
            real = [pair for pair in pairs if pair[0].is_floating_point()]
            _lerp((a for a, _ in real), (b for _, b in real), keep)
            for counter, source in pairs:
                if not counter.is_floating_point():
                    counter.copy_(source)

    def tested(self) -> AudioVisualModel:
        """Return the network that `test_weights` names."""
        model = getattr(self, self._recipe.test_weights)
        assert isinstance(model, AudioVisualModel)  # the recipe was checked for it
        return model


def _frozen_copy(model: AudioVisualModel) -> AudioVisualModel:
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def _lerp(averages: Iterable[Tensor], values: Iterable[Tensor], keep: float) -> None:
    """Set every average to keep * average + (1 - keep) * value, all in one call."""
    torch._foreach_lerp_(list(averages), list(values), 1 - keep)
