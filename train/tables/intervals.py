"""How far a figure may be from that of other clips of the kind: the bootstrap over clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..benchmarks import Resampled
from ..metrics import Floats

SEED = 0
_COVERED = (0.025, 0.975)
Draws = Mapping[str, Floats]
"""`(N,)` of each score, one per draw."""


def draws_of(scored: Resampled, num: int) -> dict[str, Floats]:
    """Score a test again and again on clips drawn with replacement.

    A clip is drawn with all its pairs. The draws depend on the clips alone, so those of two runs
    on one test are the same.

    Args:
        scored: What a test says about one source of maps.
        num: Draws.

    Returns:
        `(num,)` of each score of the headline, NaN where a draw has nothing to score.
    """
    found = [scored.drawn(rows) for rows in resampled(scored.clips, num)]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def resampled(clips: Sequence[str], num: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each draw.

    Args:
        clips: `(n,)` the clip of each row.
        num: Draws.
    """
    of_clip: dict[str, list[int]] = {}
    for row, clip in enumerate(clips):
        of_clip.setdefault(clip, []).append(row)
    groups = [np.array(rows, np.int64) for rows in of_clip.values()]
    rng = np.random.default_rng(SEED)
    for _ in range(num):
        chosen = rng.integers(len(groups), size=len(groups))
        yield np.concatenate([groups[i] for i in chosen.tolist()])


def interval(values: Floats) -> list[float] | None:
    """Return the 95 % interval of a score over draws (percentiles); None where no draw has it."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return [float(end) for end in np.quantile(known, _COVERED)]


def intervals(draws: Draws) -> dict[str, list[float] | None]:
    """Return the 95 % interval of each score."""
    return {name: interval(values) for name, values in draws.items()}


def difference(
    names: Sequence[str],
    scores: Sequence[Mapping[str, float | None]],
    draws: Sequence[Draws],
) -> dict[str, Any]:
    """Compare two runs on the same draws.

    Args:
        names: The runs.
        scores: What each scores on all clips.
        draws: What each scores on the draws.

    Returns:
        `runs`, and in `scores` for each `difference` (the first less the second), `low` and `high`
        (95 %), null where one of them has no such score.
    """
    found: dict[str, dict[str, float | None]] = {}
    for name in draws[0]:
        ends = interval(draws[0][name] - draws[1][name])
        one, other = scores[0].get(name), scores[1].get(name)
        if ends is not None and one is not None and other is not None:
            found[name] = {"difference": one - other, "low": ends[0], "high": ends[1]}
        else:
            found[name] = {"difference": None, "low": None, "high": None}
    return {"runs": list(names), "scores": found}
