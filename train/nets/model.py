"""The audio-visual network: two encoders and projections into a common space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.features import Cached
from ..recipe import Recipe
from .cached import CachedEncoder
from .dropout import Dropout
from .encoders import Encoder, compact, mobilenet_v2, resnet18


class Needs(NamedTuple):
    """What an objective needs of the network and of a batch.

    Attributes:
        heads: Projections per modality: 1 for EZ-VSL, 2 for SLAVC.
        pooled: Also a projection of whole images and one of sounds (alignment).
        frames: Whether it looks at frames at all.
        classes_of: Whose pseudo-labels it learns.
        made: Sounds beside those of the clips, names of `negatives.made.MADE`. The objective has an
            option of each name that takes it out, and `noises`, how many of a step.
    """

    heads: int = 1
    pooled: bool = False
    frames: bool = True
    classes_of: Literal["", "sounds", "objects"] = ""
    made: tuple[str, ...] = ()


class Features(NamedTuple):
    """Of images and of sounds.

    Attributes:
        visual: `(B, C, h, w)`; `(0,)` where no image was given.
        audio: `(B, C)`.
    """

    visual: Tensor
    audio: Tensor


class Embeddings(NamedTuple):
    """What the network says of images and sounds.

    Attributes:
        visual: For each head `(B, D, h, w)`, L2-normalised over D.
        audio: For each head `(B, D)`, L2-normalised.
        pooled: `(B, D)` of whole images and of sounds, L2-normalised, by projections of their own;
            empty where the objective has none.
        features: What the encoders give to the heads.
        projected: What the first head gives, before it is normalised.
    """

    visual: tuple[Tensor, ...]
    audio: tuple[Tensor, ...]
    pooled: tuple[Tensor, ...]
    features: Features
    projected: Features


def without_made(embedded: Embeddings, num: int) -> tuple[Embeddings, tuple[Tensor, ...]]:
    """Part the last `num` sounds from the others, which belong to images.

    Returns:
        The embeddings of the others, and those sounds of each head `(num, D)`; none of 0.
    """
    if not num:
        return embedded, ()
    audio, pooled = (tuple(head[:-num] for head in heads) for heads in (embedded.audio,
                     embedded.pooled[1:]))  # fmt: skip
    features, projected = (
        both._replace(audio=both.audio[:-num]) for both in (embedded.features, embedded.projected)
    )
    own = embedded._replace(
        audio=audio, pooled=(*embedded.pooled[:1], *pooled), features=features, projected=projected
    )
    return own, tuple(head[-num:] for head in embedded.audio)


class AudioVisualModel(nn.Module):
    """Encoders of frames and spectrograms into a common space."""

    image_encoder: Encoder | CachedEncoder
    audio_encoder: Encoder | CachedEncoder

    def __init__(
        self, recipe: Recipe, needs: Needs, cached: Mapping[str, Cached] | None = None
    ) -> None:
        """Build the network with random weights.

        Args:
            recipe: Its network parts are read.
            needs: What the objective needs of it.
            cached: What a recipe's cached features are, by modality (`image`, `audio`).
        """
        super().__init__()
        self._recipe = recipe
        found = cached or {}
        if recipe.image_teacher and needs.frames:
            self.image_encoder = CachedEncoder(found["image"], recipe.image_pca, recipe.mean_shift)
        elif recipe.image_encoder == "compact":
            self.image_encoder = compact(3, recipe.width)
        elif recipe.image_encoder == "mobilenet-v2":
            self.image_encoder = mobilenet_v2()
        else:
            self.image_encoder = resnet18(3, recipe.width, recipe.last_layer, recipe.last_stride)
        if recipe.sound_teacher:
            self.audio_encoder = CachedEncoder(found["audio"], recipe.audio_pca)
        else:
            self.audio_encoder = resnet18(1, recipe.width, 4, recipe.audio_last_stride)
        widths = self.image_encoder.num_features, self.audio_encoder.num_features
        self.image_heads = nn.ModuleList(
            _projection(recipe, widths[0], on_maps=True) for _ in range(needs.heads)
        )
        self.audio_heads = nn.ModuleList(
            _projection(recipe, widths[1], on_maps=False) for _ in range(needs.heads)
        )
        self.pooled_heads = nn.ModuleList(
            nn.Identity()
            if recipe.pooled_projection == "none"
            else nn.Linear(width, recipe.embed_dim)
            for width in widths
            if needs.pooled
        )
        for module in (*self.image_heads.modules(), *self.audio_heads.modules(),
                       *self.pooled_heads):  # fmt: skip
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert module.bias is not None
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if self.hears_frozen:
            self.audio_encoder.requires_grad_(False)
        if not needs.frames:
            self.image_encoder.requires_grad_(False)
            self.image_heads.requires_grad_(False)
            self.audio_heads.requires_grad_(False)
        self.visual_dropout = Dropout(recipe.visual_dropout)
        self.audio_dropout = Dropout(recipe.audio_dropout)

    @property
    def hears_frozen(self) -> bool:
        """Whether the encoder of sounds is another run's and stays as it is."""
        return self._recipe.audio_init != "scratch" and self._recipe.audio_frozen

    @property
    def keeps_image_norms(self) -> bool:
        """Whether the image encoder's batch norms normalise by the statistics they came with.

        Those of a MobileNetV2 do: in some files they stand for folded ones (converted from 8 bits)
        and batches of one's own ruin it.
        """
        recipe = self._recipe
        return recipe.image_encoder == "mobilenet-v2" and recipe.image_init == "imagenet"

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but for what the recipe keeps as it is."""
        super().train(mode)
        if self._recipe.batch_norm == "frozen":
            _keep_norms(self)
        if self.keeps_image_norms:
            _keep_norms(self.image_encoder)
        if self.hears_frozen:
            self.audio_encoder.eval()
        return self

    def embed_frames(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Embed normalised frames `(B, 3, S, S)`, or cached features: per head `(B, D, h, w)`."""
        return _unit(self._project(self._see(frames), self.image_heads))

    def embed_spectrograms(self, spectrograms: Tensor) -> tuple[Tensor, ...]:
        """Embed normalised spectrograms `(B, 1, F, T)`, or cached features: per head `(B, D)`."""
        return _unit(self._project(self._hear(spectrograms), self.audio_heads))

    def audio_features(self, spectrograms: Tensor) -> Tensor:
        """Return what the encoder makes of spectrograms `(B, 1, F, T)`: `(B, C)`, not projected."""
        return self._hear(spectrograms)

    def embed_pooled(self, features: Features) -> tuple[Tensor, ...]:
        """Embed whole images and sounds `(B, D)` each; nothing without such projections."""
        if not len(self.pooled_heads):
            return ()
        image, sound = self.pooled_heads
        means = features.visual.float().mean((2, 3))
        parts = (*self._project(means, [image]), *self._project(features.audio, [sound]))
        return _unit(parts)

    def forward(self, frames: Tensor, spectrograms: Tensor) -> Embeddings:
        """Embed frames `(B, 3, S, S)`, or none `(0,)`, and spectrograms `(B, 1, F, T)`."""
        seen = self._see(frames) if len(frames) else frames
        features = Features(seen, self._hear(spectrograms))
        visual = self._project(seen, self.image_heads if len(frames) else [])
        audio = self._project(features.audio, self.audio_heads)
        projected = Features(visual[0] if visual else seen, audio[0])
        pooled = self.embed_pooled(features)
        return Embeddings(_unit(visual), _unit(audio), pooled, features, projected)

    def _see(self, frames: Tensor) -> Tensor:
        features = self.image_encoder(frames.contiguous(memory_format=torch.channels_last))
        dropped: Tensor = self.visual_dropout(features)
        return dropped

    def _hear(self, spectrograms: Tensor) -> Tensor:
        if isinstance(self.audio_encoder, CachedEncoder):
            features = self.audio_encoder(spectrograms)
        else:
            heard = spectrograms.contiguous(memory_format=torch.channels_last)
            features = self.audio_encoder(heard).amax((2, 3))
        dropped: Tensor = self.audio_dropout(features)
        return dropped

    @staticmethod
    def _project(features: Tensor, heads: Iterable[nn.Module]) -> tuple[Tensor, ...]:
        with torch.autocast(features.device.type, enabled=False):  # cosines in full precision
            full = features.float()
            return tuple(head(full) for head in heads)


def _keep_norms(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.SyncBatchNorm):
            layer.eval()


def _unit(projected: Iterable[Tensor]) -> tuple[Tensor, ...]:
    return tuple(F.normalize(one, dim=1) for one in projected)


def _projection(recipe: Recipe, width: int, *, on_maps: bool) -> nn.Module:
    """Build one head: from the encoder's features to the common space, at every cell of a map."""

    def layer(inputs: int) -> nn.Module:
        outputs = recipe.embed_dim
        return nn.Conv2d(inputs, outputs, 1) if on_maps else nn.Linear(inputs, outputs)

    if recipe.projection == "none":
        return nn.Identity()
    if recipe.projection == "linear":
        return layer(width)
    return nn.Sequential(layer(width), nn.ReLU(), layer(recipe.embed_dim))


def build_model(
    recipe: Recipe, needs: Needs, seed: int, cached: Mapping[str, Cached] | None = None
) -> AudioVisualModel:
    """Build the network with weights drawn from `seed`, in channels-last order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AudioVisualModel(recipe, needs, cached)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own gap
    return model
