"""Features that a teacher left in the cache, where an encoder would be: only heads are trained.

A recipe names them: `image_encoder = "cached:mobilenet-v2"`, `audio_encoder =
"cached:efficientat-mn04"`. They may be rotated onto their principal components first, fitted on
the clips trained on and kept in the run's weights; a map's cells may then move to those like them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.features import Cached
from .geometry import cell_shares

IMAGE, AUDIO = "image_features", "audio_features"
"""The names that batches use."""
_FITTED_VECTORS = 32_768
"""Cells or sounds that components are fitted to, 25 times the numbers of MobileNetV2's cells."""
_NO_VARIANCE = 1e-6
"""Share of the largest variance below which a component is noise, and is not blown up."""


class CachedEncoder(nn.Module):
    """Passes features on; its only numbers are the components that they were rotated onto.

    Attributes:
        num_features: Features that heads take.
        cached: What the features are.
        rotates: Whether features are rotated onto their principal components.
        mean_shift: Temperature at which a map's cells move towards those alike; 0: they stay.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, cached: Cached, num_components: int = 0, mean_shift: float = 0.0) -> None:
        """Keep what is taken.

        Args:
            cached: The features.
            num_components: Principal components to keep; 0 leaves features as they are.
            mean_shift: Of the rotated cells of a map; see the function of that name.
        """
        super().__init__()
        self.mean_shift = mean_shift
        self.cached = cached
        self.num_features = num_components or cached.shape[0]
        self.rotates = num_components > 0
        if self.rotates:
            self.register_buffer("mean", torch.zeros(cached.shape[0]))
            self.register_buffer("basis", torch.zeros(num_components, cached.shape[0]))

    def forward(self, features: Tensor) -> Tensor:
        """Return features `(B, num_features, ...)` as they are."""
        return features

    def cell_centres(self, size_px: int) -> NDArray[np.float64]:
        """Return where the teacher's cells lie along one side of a picture, `(n,)` in pixels.

        Args:
            size_px: Side of the picture that the cells are of.
        """
        cached = self.cached
        return cell_shares(cached.cells, cached.shape[1], cached.image_px) * size_px - 0.5

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what `reduce` returns."""
        return self.num_features, *self.cached.shape[1:]

    def reduce(self, features: NDArray[Any]) -> NDArray[np.float16]:
        """Bring one clip's stored features to what heads take.

        Args:
            features: `(C, ...)`, `cached.shape`.

        Returns:
            `shape` float16.
        """
        if not self.rotates:
            return np.asarray(features, np.float16)
        flat = features.reshape(len(features), -1).astype(np.float32)
        centred = flat - self.mean.cpu().numpy()[:, None]
        rotated: NDArray[np.float32] = self.basis.cpu().numpy() @ centred
        if self.mean_shift:
            rotated = mean_shift(rotated, self.mean_shift)
        return rotated.reshape(self.shape).astype(np.float16)

    def fit(self, features: Iterable[NDArray[Any]], num_clips: int, whiten: bool) -> None:
        """Fit the components to the clips trained on.

        Args:
            features: `(C, ...)` of the clips that `clips_to_fit` names.
            num_clips: How many those are.
            whiten: Whether components are brought to variance 1, by the largest of them.
        """
        each = max(1, _FITTED_VECTORS // max(1, num_clips))
        rng = np.random.default_rng(0)
        vectors = np.concatenate([_some(one, each, rng) for one in features]).astype(np.float32)
        mean, basis = principal_components(vectors, self.num_features, whiten)
        self.mean.copy_(torch.from_numpy(mean))
        self.basis.copy_(torch.from_numpy(basis))


def clips_to_fit(num: int) -> NDArray[np.int64]:
    """Return the positions of the clips that components are fitted to: all, or evenly spread."""
    return np.unique(np.linspace(0, num - 1, min(num, _FITTED_VECTORS)).round().astype(np.int64))


def _some(features: NDArray[Any], most: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return some vectors of a clip, `(k, C)`."""
    flat = features.reshape(len(features), -1).T
    if len(flat) <= most:
        return flat
    return flat[np.sort(rng.choice(len(flat), most, replace=False))]


def mean_shift(cells: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Move every cell of one map to the mean of all, the more like it the more they count.

    One step of mean shift (Fukunaga and Hostetler 1975) with exp(cosine / temperature) as its
    kernel: the cells of a thing become alike wherever they lie, and so do those of the background.

    Args:
        cells: `(C, P)`, about their mean: cosines of features that are all positive tell little.
        temperature: The lower, the fewer cells count.

    Returns:
        `(C, P)`.
    """
    lengths = np.linalg.norm(cells, axis=0)
    unit = cells / np.maximum(lengths, np.finfo(np.float32).tiny)
    weights = np.exp((unit.T @ unit - 1) / np.float32(temperature))
    shifted: NDArray[np.float32] = (cells @ weights) / weights.sum(0)
    return shifted


def principal_components(
    vectors: NDArray[np.floating[Any]], num: int, whiten: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the principal components of vectors.

    Args:
        vectors: `(n, C)`; their covariance is summed in their precision.
        num: Components to keep, those of largest variance first.
        whiten: Divide each by its standard deviation, and all by the same number so that the first
            keeps its length.

    Returns:
        `(C,)` and `(num, C)`; the largest entry of each component is positive.
    """
    mean = vectors.mean(0, dtype=np.float64)
    centred = vectors - mean.astype(vectors.dtype)
    covariance = (centred.T @ centred).astype(np.float64) / len(vectors)
    variances, axes = np.linalg.eigh(covariance)
    variances, basis = variances[::-1][:num].clip(0), axes.T[::-1][:num]
    largest = np.abs(basis).argmax(1)
    basis = basis * np.sign(basis[np.arange(len(basis)), largest])[:, None]
    if whiten:
        least = _NO_VARIANCE * variances[0]
        scales = np.sqrt(variances[0] / np.maximum(variances, least if least > 0 else 1))
        basis = basis * scales[:, None]
    return mean, basis
