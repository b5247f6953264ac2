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
    """

    pairs: Sequence[Pair]
    source: MapSource


class Looked(NamedTuple):
    """What is kept of all maps at one threshold.

    Attributes:
        ciou: `(n,)` of each positive.
        lit: pIA by kind, `(n,)` of each negative.
        alike: By kind `(n,)` IoU of the prediction with the positive's of the same frame.
    """

    ciou: Floats
    lit: dict[str, Floats]
    alike: dict[str, Floats]


def score_levels(
    positives: Heard,
    truths: Truths,
    negatives: Mapping[str, Heard],
    levels: Sequence[Level],
    protocol: Protocol,
) -> dict[str, dict[str, Any]]:
    """Score positives and negatives at each threshold.

    Args:
        positives: Maps with the sounds of what is in the picture.
        truths: Their truths `(m, H, W)`, of a part of them.
        negatives: Maps by kind of negative.
        levels: The thresholds.
        protocol: Whose maps these are: in its `unit` scale a threshold is (cosine + 1) / 2.

    Returns:
        By the threshold's name: `threshold` (a cosine), `loc_acc`, `ciou_mean`, `auc` of the
        positives; for each kind `pia`, `auc_n`, `tnr` (nothing is predicted), `tnr_05` (at most a
        twentieth of the picture), `alike` (IoU with the positive's prediction); `f` and `f_auc`.
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
    kinds: dict[str, dict[str, float]] = {
        kind: {
            "pia": metrics.mean(lit),
            "auc_n": dark_area(lit),
            "tnr": true_negatives(lit),
            "tnr_05": true_negatives(lit, TOLERATED),
            **({"alike": metrics.mean(looked.alike[kind])} if kind in looked.alike else {}),
        }
        for kind, lit in looked.lit.items()
    }
    counted = [kinds[kind] for kind in kinds if kind != OWN] or list(kinds.values())
    positive = {
        "loc_acc": metrics.loc_acc(looked.ciou),
        "ciou_mean": metrics.mean(looked.ciou),
        "auc": metrics.auc(looked.ciou),
    }
    dark = metrics.mean([1 - kind["pia"] for kind in counted])
    area = metrics.mean([kind["auc_n"] for kind in counted])
    return {
        **positive,
        "f": balance(positive["ciou_mean"], dark),
        "f_auc": balance(positive["auc"], area),
        **kinds,
    }


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
    positives: Heard, truths: Truths, negatives: Mapping[str, Heard], values: Sequence[float]
) -> list[Looked]:
    """Measure all maps, some at a time, each once for all thresholds."""
    beside = {kind: heard for kind, heard in negatives.items() if kind != OWN}

    def look(part: slice) -> list[Looked]:
        maps, truth = positives.source(positives.pairs[part]), truths(part)
        with_kind = {kind: heard.source(heard.pairs[part]) for kind, heard in beside.items()}
        found = []
        for value in values:
            own = maps > value
            others = {kind: other > value for kind, other in with_kind.items()}
            lit = {kind: lit_share(other) for kind, other in others.items()}
            alike = {kind: overlap(own, other) for kind, other in others.items()}
            found.append(Looked(ciou(own, truth), lit, alike))
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(look, _slices(len(positives.pairs))))
    joined = [_joined([part[i] for part in parts], list(beside)) for i in range(len(values))]
    if OWN in negatives:
        for looked, lit in zip(joined, lit_shares(negatives[OWN], values), strict=True):
            looked.lit[OWN] = lit
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
        {kind: np.concatenate([part.lit[kind] for part in parts]) for kind in kinds},
        {kind: np.concatenate([part.alike[kind] for part in parts]) for kind in kinds},
    )


def _slices(num: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, num)) for start in range(0, num, _CHUNK))
