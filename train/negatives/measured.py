"""From a run's maps with sounds of nothing in the picture to figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..benchmarks import MapSource, Pair
from ..metrics import Floats
from ..score.binarize import Threshold, binarize, ciou
from ..score.protocols import Protocol
from .asked import OWN
from .figures import balance, dark_area, lit_share, overlap, true_negatives
from .levels import Level

TOLERATED = 0.05
"""Share of a picture that a lenient true negative may predict."""
_CHUNK = 32
_THREADS = 2
Truths = Callable[[slice], NDArray[Any]]


@dataclass(frozen=True)
class Heard:
    """Maps with one kind of sound.

    Attributes:
        pairs: What they are of; of a made or borrowed sound the frames of the positives, in order.
        source: Gives them.

    A kind whose sounds are drawn several times has several of these.
    """

    pairs: Sequence[Pair]
    source: MapSource


class Looked(NamedTuple):
    """What is kept of all maps at one threshold.

    Attributes:
        ciou: `(n,)` of each positive.
        lit: pIA by kind, `(draws, n)` of each negative.
        alike: By kind `(draws, n)` IoU of the prediction with the positive's of the same frame.
    """

    ciou: Floats
    lit: dict[str, Floats]
    alike: dict[str, Floats]


def score_levels(
    positives: Heard,
    truths: Truths,
    negatives: Mapping[str, Sequence[Heard]],
    levels: Sequence[Level],
    protocol: Protocol,
) -> dict[str, dict[str, Any]]:
    """Score positives and negatives at each threshold.

    Args:
        positives: Maps with the sounds of what is in the picture.
        truths: Their truths `(m, H, W)`, of a part of them.
        negatives: Maps by kind of negative, of each draw.
        levels: The thresholds.
        protocol: Whose maps these are: in its `unit` scale a threshold is (cosine + 1) / 2.

    Returns:
        By the threshold's name: `threshold` (a cosine), `loc_acc`, `ciou_mean`, `auc` of the
        positives; for each kind `pia`, `auc_n`, `tnr` (nothing is predicted), `tnr_05` (at most a
        twentieth of the picture), `alike` (IoU with the positive's prediction); `f` and `f_auc`.
        Where a kind was drawn several times, these are means over the draws, and `std` holds their
        standard deviations, of `f`, `f_auc` and of the kind's.
    """
    scale = protocol.scale == "unit"
    values = [(level.cosine + 1) / 2 if scale else level.cosine for level in levels]
    found = _look(positives, truths, negatives, values)
    return {
        level.name: {"threshold": level.cosine, **figures_of(looked)}
        for level, looked in zip(levels, found, strict=True)
    }


def figures_of(looked: Looked) -> dict[str, Any]:
    """Reduce what was seen at one threshold to figures; see `score_levels`."""
    positive = {
        "loc_acc": metrics.loc_acc(looked.ciou),
        "ciou_mean": metrics.mean(looked.ciou),
        "auc": metrics.auc(looked.ciou),
    }
    num = max(len(lit) for lit in looked.lit.values())
    draws = [_of_draw(looked, draw, positive) for draw in range(num)]
    means = {**positive, **_over(draws, metrics.mean)}
    if num == 1:
        return means
    drawn = {kind for kind, lit in looked.lit.items() if len(lit) > 1}
    spread = _over(draws, lambda values: float(np.std(values, ddof=1)))
    kept = {k: v for k, v in spread.items() if k in drawn or k in ("f", "f_auc")}
    return {**means, "std": kept}


def _of_draw(looked: Looked, draw: int, positive: Mapping[str, float]) -> dict[str, Any]:
    """Return the figures of one draw; a kind that was drawn once has the same in all."""
    kinds: dict[str, dict[str, float]] = {}
    for kind, drawn in looked.lit.items():
        lit = drawn[draw % len(drawn)]
        kinds[kind] = {
            "pia": metrics.mean(lit),
            "auc_n": dark_area(lit),
            "tnr": true_negatives(lit),
            "tnr_05": true_negatives(lit, TOLERATED),
        }
        if kind in looked.alike:
            kinds[kind]["alike"] = metrics.mean(looked.alike[kind][draw % len(drawn)])
    counted = [kinds[kind] for kind in kinds if kind != OWN] or list(kinds.values())
    dark = metrics.mean([1 - kind["pia"] for kind in counted])
    area = metrics.mean([kind["auc_n"] for kind in counted])
    return {
        "f": balance(positive["ciou_mean"], dark),
        "f_auc": balance(positive["auc"], area),
        **kinds,
    }


def _over(draws: Sequence[dict[str, Any]], reduce: Callable[[list[float]], float]) -> Any:
    """Reduce each figure over draws."""
    if not isinstance(draws[0], dict):
        return reduce(list(draws))
    return {name: _over([draw[name] for draw in draws], reduce) for name in draws[0]}


def mixture(
    positives: Heard, truths: Truths, levels: Sequence[Level], protocol: Protocol
) -> dict[str, float]:
    """Return what vssl_eval's code prints as CIoU and AUC of the positives.

    It appends the cIoU of five thresholds to one list, the median, 0.5 and those it states, and
    takes share and area over all of them. Nobody else should.
    """
    unit = protocol.scale == "unit"
    values = [0.5, *((level.cosine + 1) / 2 if unit else level.cosine for level in levels)]

    def look(part: slice) -> Floats:
        maps, truth = positives.source(positives.pairs[part]), truths(part)
        masks = [binarize(maps, Threshold.MEDIAN), *(maps >= value for value in values)]
        return np.concatenate([ciou(mask, truth) for mask in masks])

    with ThreadPoolExecutor(_THREADS) as pool:
        listed = np.concatenate(list(pool.map(look, _slices(len(positives.pairs)))))
    return {"loc_acc": metrics.loc_acc(listed), "auc": metrics.auc(listed)}


def _look(
    positives: Heard,
    truths: Truths,
    negatives: Mapping[str, Sequence[Heard]],
    values: Sequence[float],
) -> list[Looked]:
    """Measure all maps, some at a time, each once for all thresholds."""
    beside = {kind: heard for kind, heard in negatives.items() if kind != OWN}

    def look(part: slice) -> list[Looked]:
        maps, truth = positives.source(positives.pairs[part]), truths(part)
        chosen = [maps > value for value in values]
        found = [Looked(ciou(own, truth), {}, {}) for own in chosen]
        for kind, draws in beside.items():
            seen = [one.source(one.pairs[part]) for one in draws]
            for looked, own, value in zip(found, chosen, values, strict=True):
                looked.lit[kind] = np.stack([lit_share(other > value) for other in seen])
                looked.alike[kind] = np.stack([overlap(own, other > value) for other in seen])
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(look, _slices(len(positives.pairs))))
    joined = [_joined([part[i] for part in parts], list(beside)) for i in range(len(values))]
    if OWN in negatives:
        for looked, lit in zip(joined, lit_shares(negatives[OWN][0], values), strict=True):
            looked.lit[OWN] = lit[None]
    return joined


def lit_shares(heard: Heard, values: Sequence[float]) -> list[Floats]:
    """Return pIA of maps at each threshold, `(n,)` each."""

    def look(part: slice) -> list[Floats]:
        maps = heard.source(heard.pairs[part])
        return [lit_share(maps > value) for value in values]

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(look, _slices(len(heard.pairs))))
    return [np.concatenate([part[i] for part in parts]) for i in range(len(values))]


def _joined(parts: Sequence[Looked], kinds: Sequence[str]) -> Looked:
    return Looked(
        np.concatenate([part.ciou for part in parts]),
        {kind: np.concatenate([part.lit[kind] for part in parts], 1) for kind in kinds},
        {kind: np.concatenate([part.alike[kind] for part in parts], 1) for kind in kinds},
    )


def _slices(num: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, num)) for start in range(0, num, _CHUNK))
