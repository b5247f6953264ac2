"""The objectives' losses as pure functions: embeddings in, named unweighted scalars out.

Shapes: N images, M sounds, D dimensions, P = h * w cells; the matching sound of image n is sound n.
Embeddings are L2-normalised over D. A loss compares one view of the images with one of the sounds;
`over_pairs` sums it over all pairs of views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

Pooling = Literal["max", "lse", "mean", "topk"]
HintNorm = Literal["sample", "cell"]
V = TypeVar("V")
A = TypeVar("A")


def similarity(visual: Tensor, audio: Tensor) -> Tensor:
    """Return the cosine of every cell of every image with every sound.

    Args:
        visual: `(N, D, h, w)`.
        audio: `(M, D)`.

    Returns:
        `(N, M, P)` in [-1, 1].
    """
    return torch.matmul(audio, visual.flatten(2))


def pool(
    similarity_NMP: Tensor, pooling: Pooling = "max", temperature: float = 0.1, share: float = 0.1
) -> Tensor:
    """Reduce each map to one score, `(N, M, P)` to `(N, M)`.

    Args:
        similarity_NMP: Cosines.
        pooling: `max`; `mean`; `topk`, the mean of the best cells; or `lse`, the smooth maximum
            t * (logsumexp(s / t) - ln P), which lies between max and mean and gives every cell a
            gradient.
        temperature: t of `lse`.
        share: Of the cells that `topk` takes, at least one.
    """
    num_cells = similarity_NMP.shape[-1]
    if pooling == "max":
        return similarity_NMP.amax(-1)
    if pooling == "mean":
        return similarity_NMP.mean(-1)
    if pooling == "topk":
        return similarity_NMP.topk(max(1, round(share * num_cells)), -1).values.mean(-1)
    soft = torch.logsumexp(similarity_NMP / temperature, -1) - math.log(num_cells)
    return temperature * soft


def over_pairs(
    loss: Callable[[V, A], dict[str, Tensor]], visual: Sequence[V], audio: Sequence[A]
) -> dict[str, Tensor]:
    """Sum a loss over all pairs of a view of the images and a view of the sounds.

    Args:
        loss: From one view of each to named terms.
        visual: The views of the images.
        audio: The views of the sounds.
    """
    found = [loss(v, a) for v in visual for a in audio]
    return {name: torch.stack([terms[name] for terms in found]).sum() for name in found[0]}


def ez_vsl(
    visual: Tensor,
    audio: Tensor,
    *,
    temperature: float = 0.03,
    pooling: Pooling = "max",
    pooling_temperature: float = 0.1,
    pooling_share: float = 0.1,
    others: Tensor | None = None,
) -> dict[str, Tensor]:
    """Multiple-instance contrastive loss (EZ-VSL, section 3.1).

    Args:
        visual: `(N, D, h, w)`.
        audio: `(N, D)`.
        temperature: Divisor of the pooled cosines.
        pooling: How a map becomes a score; the paper takes `max`.
        pooling_temperature: Of `lse` pooling.
        pooling_share: Of `topk` pooling.
        others: `(K, D)` sounds that no image fits; each image is told from them too.

    Returns:
        `image_to_audio` (each image among all sounds) and `audio_to_image`, means over the batch.
    """
    cosines = similarity(visual, audio)
    scores = pool(cosines, pooling, pooling_temperature, pooling_share) / temperature
    own = torch.arange(len(scores), device=scores.device)
    among = scores
    if others is not None:
        beside = pool(similarity(visual, others), pooling, pooling_temperature, pooling_share)
        among = torch.cat([scores, beside / temperature], 1)
    return {
        "image_to_audio": F.cross_entropy(among, own),
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


def alignment(
    visual: Tensor,
    audio: Tensor,
    pooled_visual: Tensor,
    pooled_audio: Tensor,
    *,
    temperature: float = 0.07,
    pooling: Pooling = "mean",
    pooling_temperature: float = 0.1,
    pooling_share: float = 0.1,
) -> dict[str, Tensor]:
    """Cross-modal alignment of one pair of views, images to sounds (Senocak et al. 2023, eq. 5).

    Args:
        visual: `(N, D, h, w)`.
        audio: `(N, D)`.
        pooled_visual: `(N, E)` projections of the averaged maps.
        pooled_audio: `(N, E)` projections of the sounds.
        temperature: Divisor of the scores.
        pooling: How a map becomes a score; the paper averages over all cells.
        pooling_temperature: Of `lse` pooling.
        pooling_share: Of `topk` pooling.

    Returns:
        `localization` (scores s_L, pooled maps of cosines) and `alignment` (scores s_A, cosines of
        the projections), means over the batch.
    """
    if pooling == "mean":  # linear: the mean cosine is the product with the mean cell
        scores = visual.flatten(2).mean(2) @ audio.T
    else:
        cosines = similarity(visual, audio)
        scores = pool(cosines, pooling, pooling_temperature, pooling_share)
    own = torch.arange(len(scores), device=scores.device)
    return {
        "localization": F.cross_entropy(scores / temperature, own),
        "alignment": F.cross_entropy(pooled_visual @ pooled_audio.T / temperature, own),
    }


def lvs(
    visual: Tensor,
    audio: Tensor,
    *,
    form: Literal["code", "paper"] = "code",
    temperature: float = 0.07,
    positive: float = 0.65,
    negative: float = 0.4,
    mask_temperature: float = 0.03,
) -> dict[str, Tensor]:
    """Contrast with a tri-map: sounding cells, silent ones, and those between (LVS, section 3.2).

    Args:
        visual: `(N, D, h, w)`.
        audio: `(N, D)`.
        form: Among the sounds that an image is not of, the image's own: `paper` leaves it out,
            `code` keeps it, times -99 (the released masking).
        temperature: Divisor of the scores.
        positive: Cosine above which a cell counts as sounding.
        negative: Cosine below which it counts as silent.
        mask_temperature: Softness of both bounds.

    Returns:
        `tri_map`: each image's sounding cells with its own sound, among those with other sounds and
        its own silent cells.
    """
    cosines_NMP = similarity(visual, audio)
    own_NP = torch.diagonal(cosines_NMP).T
    easy = _where(cosines_NMP, (cosines_NMP - positive) / mask_temperature)
    sounding = _where(own_NP, (own_NP - positive) / mask_temperature)
    silent = _where(own_NP, (negative - own_NP) / mask_temperature)
    diagonal = torch.eye(len(easy), dtype=torch.bool, device=easy.device)
    if form == "code":
        easy = torch.where(diagonal, -99 * easy, easy)
    else:
        easy = easy.masked_fill(diagonal, -torch.inf)
    logits = torch.cat([sounding[:, None], easy, silent[:, None]], dim=1)
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return {"tri_map": F.cross_entropy(logits / temperature, first)}


def _where(values: Tensor, logits: Tensor) -> Tensor:
    """Average over the last axis, weighted by sigmoid(logits), even if all of these underflow."""
    return (values * F.logsigmoid(logits).softmax(-1)).sum(-1)


def hint_mse(student: Tensor, teacher: Tensor, norm: HintNorm = "sample") -> Tensor:
    """Mean squared error of normalised features (audio-visual distillation, eqs. 2-3).

    Args:
        student: `(B, D, ...)`.
        teacher: The same shape.
        norm: What gets length 1, which the paper leaves open: `sample`, each clip's whole feature
            (the paper's weights then bring all terms to one range), or `cell`, each cell's D.

    Returns:
        The mean over elements, a scalar.
    """
    if norm == "sample":
        student, teacher = student.flatten(1), teacher.flatten(1)
    return F.mse_loss(F.normalize(student, dim=1), F.normalize(teacher, dim=1))


def sounding_mask(
    visual: Tensor, audio: Tensor, *, threshold: float = 0.65, temperature: float = 0.03
) -> Tensor:
    """Return how much each cell sounds, sigmoid((cosine - threshold) / temperature).

    Args:
        visual: `(B, D, h, w)`.
        audio: `(B, D)`, each image's sound.
        threshold: Cosine at which a cell sounds by half.
        temperature: Softness.

    Returns:
        `(B, h, w)` in [0, 1] (sound promotion, eq. 2).
    """
    return torch.sigmoid(((visual * audio[:, :, None, None]).sum(1) - threshold) / temperature)


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Average masked features over cells: `(B, C, h, w)` and `(B, h, w)` to `(B, C)`."""
    return (features * mask[:, None]).mean((2, 3))


def match(
    visual: Tensor, audio: Tensor, *, threshold: float = 0.65, temperature: float = 0.03
) -> dict[str, Tensor]:
    """Tell an image's sound from the next clip's by the best cell of the mask (sound promotion).

    Args:
        visual: `(B, D, h, w)`.
        audio: `(B, D)`.
        threshold: As in `sounding_mask`.
        temperature: As in `sounding_mask`.

    Returns:
        `match`: binary cross-entropy, mean over the B own and the B other sounds.
    """
    own, other = (
        ((visual * sound[:, :, None, None]).sum(1).amax((1, 2)) - threshold) / temperature
        for sound in (audio, audio.roll(1, 0))
    )
    return {"match": (F.softplus(-own).mean() + F.softplus(other).mean()) / 2}
