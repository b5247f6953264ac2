"""What is trained, and the averaged copies beside it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..recipe import Recipe
from .model import AudioVisualModel, Embeddings


class Student(nn.Module):
    """What is trained, and its averaged copies. Its state dict is what a checkpoint holds."""

    def __init__(
        self, online: AudioVisualModel, recipe: Recipe, heads: Mapping[str, nn.Module] | None = None
    ) -> None:
        """Copy the network for the averages that the recipe asks for.

        Args:
            online: The network that gradients reach.
            recipe: `momentum` above 0 adds the momentum encoders, `ema` above 0 the test copy.
            heads: What only training needs: classifiers, and projections to hints.
        """
        super().__init__()
        self.online = online
        self.momentum = _frozen_copy(online) if recipe.momentum else None
        self.ema = _frozen_copy(online) if recipe.ema else None
        self.heads = nn.ModuleDict(dict(heads or {}))
        self._recipe = recipe
        if self.momentum is not None and recipe.momentum_buffers:
            for module in self.momentum.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = 0.0  # its own activations leave the averages as they are

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that gradients reach."""
        both = (*self.online.parameters(), *self.heads.parameters())
        return [parameter for parameter in both if parameter.requires_grad]

    def copy_online(self) -> None:
        """Set the averaged copies to the online network, after weights were loaded into it."""
        for average in (self.momentum, self.ema):
            if average is not None:
                average.load_state_dict(self.online.state_dict())

    def update_momentum(self) -> None:
        """Move the momentum encoders towards the online ones: parameters only (SLAVC, section 3.3).

        They run in training mode: their batch norms normalise by the batch and keep statistics of
        their own activations. With `momentum_buffers` these are averages of the online ones.
        """
        if self.momentum is not None:
            keep = self._recipe.momentum
            _lerp(self.momentum.parameters(), self.online.parameters(), keep)
            if self._recipe.momentum_buffers:
                _lerp_buffers(self.momentum, self.online, keep)

    @torch.no_grad()
    def embed_momentum(self, frames: Tensor, spectrograms: Tensor) -> Embeddings | None:
        """Embed with the momentum encoders, None without them; dropout and norms as in training."""
        return None if self.momentum is None else self.momentum(frames, spectrograms)

    def update_ema(self, step: int) -> None:
        """Move the test copy, parameters and statistics; its memory is short in early steps."""
        if self.ema is not None:
            keep = min(self._recipe.ema, (step + 1) / (step + 10))
            _lerp(self.ema.parameters(), self.online.parameters(), keep)
            _lerp_buffers(self.ema, self.online, keep)

    def tested(self) -> AudioVisualModel:
        """Return the network that `test_weights` names."""
        model = getattr(self, self._recipe.test_weights)
        assert isinstance(model, AudioVisualModel)  # the recipe was checked for it
        return model


def _frozen_copy(model: AudioVisualModel) -> AudioVisualModel:
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def _lerp_buffers(average: nn.Module, online: nn.Module, keep: float) -> None:
    pairs = list(zip(average.buffers(), online.buffers(), strict=True))
    real = [pair for pair in pairs if pair[0].is_floating_point()]
    _lerp((a for a, _ in real), (b for _, b in real), keep)
    for counter, source in pairs:
        if not counter.is_floating_point():
            counter.copy_(source)


@torch.no_grad()
def _lerp(averages: Iterable[Tensor], values: Iterable[Tensor], keep: float) -> None:
    """Set every average to keep * average + (1 - keep) * value, all in one call."""
    torch._foreach_lerp_(list(averages), list(values), 1 - keep)
