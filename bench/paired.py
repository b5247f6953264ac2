"""Scores of several seeds on the same clips: means and paired differences with intervals.

The interval is of both kinds of chance at once. Seeds (weights, order, dropout) and test clips are
drawn anew, each with replacement and apart from each other, and the score of all drawn pairs of a
seed and a clip is taken: the pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1(2)),
which is slightly too wide rather than too narrow. A t-interval over seeds would say nothing of
other clips, one over clips nothing of other seeds. Clips of each kind are drawn apart.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MEANS = {
    "right_object": ("positive", "right_object"),
    "swapped": ("swapped", "right_object"),
    "loc_acc": ("positive", "located"),
    "ciou": ("positive", "ciou_adaptive"),
}
"""Score to the kind of pairs it is the mean over, and what of them."""
AUROCS = {"offscreen": "offscreen", "mismatched": "mismatched"}
"""Score to the negatives whose peaks are ranked among those of the positives."""
SCORES = (*MEANS, *AUROCS)
DRAWS = 4000


class Interval(NamedTuple):
    """A figure and the middle 95 % of its draws; NaN where there is nothing to score."""

    value: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Scored:
    """What an arm of a comparison scored.

    Attributes:
        means: Score to `(seeds, clips)`.
        wins: Score to `(seeds, positives, negatives)`: 1 where the positive's peak is higher, 1/2
            where both are equal; their mean is the AUROC.
    """

    means: dict[str, Floats]
    wins: dict[str, Floats]

    def of_seeds(self, score: str) -> Floats:
        """Return the score of each seed, `(seeds,)`."""
        found = self.means.get(score)
        return self.wins[score].mean((1, 2)) if found is None else found.mean(1)

    def minus(self, other: Scored) -> Scored:
        """Return the difference, seed by seed and clip by clip."""
        return Scored(
            {name: values - other.means[name] for name, values in self.means.items()},
            {name: values - other.wins[name] for name, values in self.wins.items()},
        )


def read_scored(tables: Sequence[Path], subset: str = "heard") -> Scored:
    """Read what `avpipe evaluate` left of one run a seed (`evaluate/synth-avpipe.csv`).

    Args:
        tables: Of each seed; all of the same pairs.
        subset: Whose pairs count.

    Raises:
        ValueError: The tables are of different pairs.
    """
    columns: dict[str, dict[str, list[list[float]]]] = {}
    pairs: list[list[tuple[str, ...]]] = []
    for table in tables:
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["subset"] == subset]
        pairs.append([(row["group"], row["video"], row["audio"]) for row in rows])
        for group in ("positive", "swapped", "offscreen", "mismatched"):
            of_group = columns.setdefault(group, {})
            for name in ("right_object", "ciou_adaptive", "confidence"):
                values = [float(row[name] or "nan") for row in rows if row["group"] == group]
                of_group.setdefault(name, []).append(values)
    if any(one != pairs[0] for one in pairs):
        raise ValueError(f"{tables[0]} and the tables of the other seeds are of different pairs")
    found = {
        (group, name): np.array(values)
        for group, of_group in columns.items()
        for name, values in of_group.items()
    }
    found["positive", "located"] = (found["positive", "ciou_adaptive"] >= 0.5).astype(np.float64)
    peaks = found["positive", "confidence"]
    return Scored(
        {name: found[source] for name, source in MEANS.items()},
        {name: wins(peaks, found[group, "confidence"]) for name, group in AUROCS.items()},
    )


def wins(positive: Floats, negative: Floats) -> Floats:
    """Compare every positive with every negative of its seed, `(S, P)` and `(S, N)`."""
    high, low = positive[:, :, None], negative[:, None]
    return (high > low) + (high == low) / 2


def interval(scored: Scored, score: str, seed: int = 0) -> Interval:
    """Return a score over seeds and clips, or over their differences, with its interval.

    Args:
        scored: Of an arm, or the difference of two.
        score: One of `SCORES`.
        seed: Of the draws.
    """
    values = scored.means.get(score)
    if values is None:
        values = scored.wins[score]
    if not values.size:
        return Interval(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    of_seeds, *of_clips = (
        rng.multinomial(size, np.full(size, 1 / size), DRAWS) / size for size in values.shape
    )
    per_seed = np.stack([_drawn(one, of_clips) for one in values], axis=1)
    draws = (of_seeds * per_seed).sum(1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def _drawn(values: Floats, weights: Sequence[Floats]) -> Floats:
    """Average `(P,)` or `(P, N)` by every draw's weights of each axis, `(DRAWS, ...)`."""
    averaged: Floats = weights[0] @ values
    return averaged if len(weights) == 1 else (averaged * weights[1]).sum(1)
