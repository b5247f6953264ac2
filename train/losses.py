"""The objectives' losses as pure functions: embeddings in, named unweighted scalars out.

Shapes: N images, M sounds, D dimensions, P = h * w cells; the matching sound of image n is sound n.
Embeddings are L2-normalised over D.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Pooling = Literal["max", "lse", "mean"]


def similarity(visual: Tensor, audio: Tensor) -> Tensor:
    """Return the cosine of every cell of every image with every sound.

    Args:
        visual: `(N, D, h, w)`.
        audio: `(M, D)`.

    Returns:
        `(N, M, P)` in [-1, 1].
    """
    return torch.matmul(audio, visual.flatten(2))


def pool(similarity_NMP: Tensor, pooling: Pooling = "max", temperature: float = 0.1) -> Tensor:
    """Reduce each map to one score, `(N, M, P)` to `(N, M)`.

    Args:
        similarity_NMP: Cosines.
        pooling: `max`; `mean`; or `lse`, the smooth maximum t * (logsumexp(s / t) - ln P), which
            lies between both and gives every cell a gradient.
        temperature: t of `lse`.
    """
    if pooling == "max":
        return similarity_NMP.amax(-1)
    if pooling == "mean":
        return similarity_NMP.mean(-1)
    num_cells = similarity_NMP.shape[-1]
    soft = torch.logsumexp(similarity_NMP / temperature, -1) - math.log(num_cells)
    return temperature * soft


def ez_vsl(
    visual: Tensor,
    audio: Tensor,
    *,
    temperature: float = 0.03,
    pooling: Pooling = "max",
    pooling_temperature: float = 0.1,
) -> dict[str, Tensor]:
    """Multiple-instance contrastive loss (EZ-VSL, section 3.1).

    Args:
        visual: `(N, D, h, w)`.
        audio: `(N, D)`.
        temperature: Divisor of the pooled cosines.
        pooling: How a map becomes a score; the paper takes `max`.
        pooling_temperature: Of `lse` pooling.

    Returns:
        `image_to_audio` (each image among all sounds) and `audio_to_image`, means over the batch.
    """
    scores = pool(similarity(visual, audio), pooling, pooling_temperature) / temperature
    own = torch.arange(len(scores), device=scores.device)
    return {
        "image_to_audio": F.cross_entropy(scores, own),
        "audio_to_image": F.cross_entropy(scores.T, own),
    }


def slavc(
    visual: tuple[Tensor, Tensor],
    audio: tuple[Tensor, Tensor],
    momentum_visual: tuple[Tensor, Tensor],
    momentum_audio: tuple[Tensor, Tensor],
    *,
    form: Literal["code", "paper"] = "code",
    temperature: float = 0.03,
) -> dict[str, Tensor]:
    """Localization times correspondence, against momentum encoders (SLAVC, eqs. 5-6).

    Every pair scores P[n, m], reduced over cells x from softmax over sounds of the first head times
    softmax over cells of the second. Computed with logarithms throughout: the product as such
    underflows to log 0.

    Args:
        visual: The two heads' maps, each `(N, D, h, w)`.
        audio: The two heads' sounds, each `(N, D)`.
        momentum_visual: As `visual`, from the momentum encoder.
        momentum_audio: As `audio`, from the momentum encoder.
        form: `code`: P sums over cells, and both terms normalise over sounds. `paper`: P takes the
            best cell, and the term with momentum images normalises over images.
        temperature: Divisor of the cosines.

    Returns:
        `momentum_image` (momentum images, online sounds) and `momentum_audio` (the reverse).
    """
    image_scores = slavc_scores(momentum_visual, audio, form=form, temperature=temperature)
    audio_scores = slavc_scores(visual, momentum_audio, form=form, temperature=temperature)
    own = torch.arange(len(audio_scores), device=audio_scores.device)
    if form == "paper":
        image_scores = image_scores.T
    return {
        "momentum_image": F.cross_entropy(image_scores, own),
        "momentum_audio": F.cross_entropy(audio_scores, own),
    }


def slavc_scores(
    visual: tuple[Tensor, Tensor],
    audio: tuple[Tensor, Tensor],
    *,
    form: Literal["code", "paper"] = "code",
    temperature: float = 0.03,
) -> Tensor:
    """Return log P `(N, M)` of `slavc`, finite for every input."""
    correspondence, localization = (
        similarity(v, a) / temperature for v, a in zip(visual, audio, strict=True)
    )
    log_p_NMP = correspondence.log_softmax(1) + localization.log_softmax(2)
    return log_p_NMP.logsumexp(2) if form == "code" else log_p_NMP.amax(2)
