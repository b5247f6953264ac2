"""Hints brought to mean 0 and deviation 1, number by number, over the clips trained on.

A teacher's features share much that says nothing of a clip: the squared error of such hints, each
of length 1, is mostly that. The figures follow from the clips, so a resumed run finds them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.store import Cache, ColumnView
from ..nets.cached import clips_to_fit
from .columns import BatchColumn

_NO_DEVIATION = 1e-6
"""Of a number that is the same in all clips: it becomes 0."""


def standard_hints(
    cache: Cache, rows: NDArray[np.int64], columns: Mapping[str, BatchColumn], names: Iterable[str]
) -> dict[str, BatchColumn]:
    """Return columns whose hints are standardised when they are read.

    Args:
        cache: The cache.
        rows: Clips trained on.
        columns: What is read beside clips.
        names: The hints among them.
    """
    found = dict(columns)
    chosen = rows[clips_to_fit(len(rows))].tolist()
    for name in names:
        column = found[name]
        values = ColumnView(cache, column.stage, column.name)
        mean, deviation = moments(values[row] for row in chosen)
        found[name] = replace(column, reduce=partial(standardise, mean=mean, deviation=deviation))
    return found


def moments(features: Iterable[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of each number, `(C,)`, over clips `(C, ...)` and their cells."""
    num, sums, squares = 0, np.zeros(()), np.zeros(())
    for one in features:
        flat = one.reshape(len(one), -1).astype(np.float64)
        num += flat.shape[1]
        sums, squares = sums + flat.sum(1), squares + (flat**2).sum(1)
    mean = sums / num
    return mean, np.sqrt((squares / num - mean**2).clip(0))


def standardise(
    features: NDArray[Any], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return one clip's features `(C, ...)` with mean 0 and deviation 1 over clips."""
    shape = (-1, *(1,) * (features.ndim - 1))
    known = deviation > _NO_DEVIATION
    scale = np.where(known, 1 / np.where(known, deviation, 1), 0)
    found: NDArray[np.float64] = (features - mean.reshape(shape)) * scale.reshape(shape)
    return found.astype(np.float32)
