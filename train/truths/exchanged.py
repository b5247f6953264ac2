"""Sounds of other clips in place of a clip's own: whether maps of a test with true boxes listen.

A large source in the middle is found by a map that hears nothing. So the same frames are scored
with other clips' sounds too, and the true source's level with its own sound is compared with that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..benchmarks import MapSource, Pair, Scores, Subsets
from ..score.binarize import Floats, Maps
from ..score.protocols import Protocol

if TYPE_CHECKING:
    from .annotated import Annotated, AnnotatedItem

_CHUNK = 256
_PAIRS, _MOST_ROUNDS = 1000, 4
"""So many pairs are enough; a test of few clips is exchanged several times, for one strays."""


def exchanges(items: Sequence[AnnotatedItem]) -> list[list[Pair]]:
    """Return, for every round, the frame of each clip with the sound of another.

    Args:
        items: Clips whose source is in the picture.

    Returns:
        At most four rounds of as many pairs as items; none where there is one clip or no clip.
    """
    if len(items) < 2:
        return []
    num_rounds = min(_MOST_ROUNDS, -(-_PAIRS // len(items)))
    return [
        [Pair(items[at].pair.video, items[sound].pair.audio) for at, sound in enumerate(sounds)]
        for seed in range(num_rounds)
        for sounds in [exchange([item.label for item in items], seed)]
    ]


def exchange(labels: Sequence[str], seed: int) -> list[int]:
    """Return whose sound each clip gets: never its own, of another class wherever there is one.

    Clips stand in a circle, class by class, classes and clips in an order that the seed draws. Each
    gets the sound of the one that is as many places on as the largest class has clips.

    Args:
        labels: Class of each clip; a clip without one is a class of its own.
        seed: Of the order.
    """
    rng = np.random.default_rng(seed)
    classes = [label or f"\0{index}" for index, label in enumerate(labels)]
    place = dict(zip(dict.fromkeys(classes), rng.permutation(len(set(classes))), strict=True))
    order = rng.permutation(len(classes)).tolist()
    circle = sorted(order, key=lambda index: place[classes[index]])
    step = max(Counter(classes).values()) % len(circle) or 1
    given = dict(zip(circle, [*circle[step:], *circle[:step]], strict=True))
    return [given[index] for index in range(len(circle))]


def score_exchanged(alone: Annotated, source: MapSource, protocol: Protocol) -> dict[str, Subsets]:
    """Score maps with sounds of other clips, and compare each clip's own sound with them.

    Args:
        alone: The clips of a test whose source is in the picture.
        source: The maps.
        protocol: How they are scored.

    Returns:
        `av_shuffled`: the scores of the same frames with the sounds of others, mean over rounds.
        `own_sound`: what `compare` says. Both by subset; nothing where there is no other clip.
    """
    rounds = exchanges(alone.items)
    if not rounds:
        return {}
    pairs = [item.pair for item in alone.items]
    levels = np.full((1 + len(rounds), len(pairs)), np.nan)
    row_of = {pair: row for row, pair in enumerate(pairs)}

    def with_sounds_of(number: int, given: Sequence[Pair]) -> MapSource:
        """Return the maps of other pairs in place of a clip's own, whose levels are noted."""

        def maps_of(own: Sequence[Pair]) -> Maps:
            rows = [row_of[pair] for pair in own]
            maps = source([given[row] for row in rows])
            truths = alone.draw([alone.boxes[pair.video] for pair in own])
            levels[number, rows] = inside(maps, truths)
            return maps

        return maps_of

    own = with_sounds_of(0, pairs)
    for start in range(0, len(pairs), _CHUNK):
        own(pairs[start : start + _CHUNK])
    scores = [
        alone.score(with_sounds_of(number, given), protocol).scores
        for number, given in enumerate(rounds, 1)
    ]
    return {
        "av_shuffled": {
            subset: {
                name: metrics.mean([one[subset][name] for one in scores])
                for name in scores[0][subset]
            }
            for subset in scores[0]
        },
        "own_sound": {
            subset: compare(levels[0, keep], levels[1:, keep])
            for subset, keep in alone.subsets().items()
        },
    }


def inside(maps: Maps, truths: NDArray[Any]) -> Floats:
    """Return each map's mean inside its truth.

    Args:
        maps: `(n, H, W)`.
        truths: `(n, H, W)` bool, or shares in [0, 1] that weigh pixels.

    Returns:
        `(n,)`; NaN where the truth has no area, minus infinity where the map has a NaN there.
    """
    found = np.full(len(maps), np.nan)
    for row, (one, truth) in enumerate(zip(maps, truths, strict=True)):
        if truth.any():
            level = np.average(one[truth > 0], weights=truth[truth > 0])
            found[row] = -np.inf if np.isnan(level) else level
    return found


def compare(own: Floats, others: Floats) -> Scores:
    """Compare the means inside truths of maps with own sounds and with those of other clips.

    Args:
        own: `(n,)`; where it is NaN there is nothing to compare.
        others: `(rounds, n)`.

    Returns:
        `above_other`, the share of clips whose own sound has the higher mean, a tie counting half;
        `auroc`, the area under the ROC of own sounds against others', whichever clip they are of.
    """
    has_area = ~np.isnan(own)
    own, others = own[has_area], others[:, has_area]
    return {
        "above_other": metrics.mean((own > others) + (own == others) / 2),
        "auroc": metrics.auroc(own, others.ravel()),
    }
