"""From maps to predicted pixels, and their overlap with the truth."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


_SAMPLE_STEP = 33
"""Odd, so that a sample of a 224 x 224 map meets every column."""
_SAMPLE_MARGIN = 20


class Threshold(StrEnum):
    """How a map becomes a prediction.

    MEDIAN: the top half of the pixels. FIXED: pixels at or above a value. ADAPTIVE: as many pixels
    as the ground truth has.
    """

    MEDIAN = "median"
    FIXED = "fixed"
    ADAPTIVE = "adaptive"


def binarize(
    maps: Maps,
    rule: Threshold,
    *,
    areas_px: NDArray[np.integer[Any]] | None = None,
    level: float | Floats = 0.5,
    strict: bool = False,
) -> Bools:
    """Choose the pixels that a map predicts, those that tie with the last one included.

    Args:
        maps: `(n, H, W)`. NaN ranks below everything and is never predicted.
        rule: See `Threshold`.
        areas_px: `(n,)` pixels of each ground truth, for ADAPTIVE; 0 predicts none.
        level: For FIXED, one or `(n,)`.
        strict: Leave out the last one and those that tie with it, as LVS and SSLalignment do.

    Returns:
        `(n, H, W)`.

    Raises:
        ValueError: If ADAPTIVE is asked for without areas.
    """
    beats = np.greater if strict else np.greater_equal
    if rule is Threshold.FIXED:
        return np.asarray(beats(maps, np.reshape(level, (-1, 1, 1))))
    if rule is Threshold.ADAPTIVE and areas_px is None:
        raise ValueError("the adaptive rule needs the areas of the ground truth")
    flat = np.where(np.isnan(maps), -np.inf, maps).reshape(len(maps), -1)
    num_pixels = flat.shape[1]
    half = num_pixels - num_pixels // 2
    wanted = np.full(len(flat), half) if rule is Threshold.MEDIAN else np.asarray(areas_px)
    chosen = np.zeros(flat.shape, bool)
    for row, values, area in zip(chosen, flat, wanted.tolist(), strict=True):
        if area:
            beats(values, order_statistic(values, num_pixels - area), out=row)
    return chosen.reshape(maps.shape) & ~np.isnan(maps)


def order_statistic(values: NDArray[Any], rank: int, sample: NDArray[Any] | None = None) -> Any:
    """Return what would stand at `rank` if the values were sorted.

    A sorted sample brackets it; only what lies in the bracket is partitioned. Maps are smooth, so
    every 33rd pixel says within 1.3 % where a rank lies; a bracket that misses costs a partition.

    Args:
        values: `(N,)` without NaN.
        rank: From 0, the smallest, to N - 1.
        sample: `sorted_sample(values)`, where several ranks are asked for.
    """
    if sample is None:
        sample = sorted_sample(values)
    place = rank // _SAMPLE_STEP
    low = sample[max(place - _SAMPLE_MARGIN, 0)]
    high = sample[min(place + _SAMPLE_MARGIN, len(sample) - 1)]
    between = values >= low
    num_below = len(values) - np.count_nonzero(between)
    between &= values <= high
    inside = values[np.flatnonzero(between)]
    inner_rank = rank - num_below
    if 0 <= inner_rank < len(inside):
        inside.partition(inner_rank)
        return inside[inner_rank]
    return np.partition(values, rank)[rank]


def sorted_sample(values: NDArray[Any]) -> NDArray[Any]:
    """Return what `order_statistic` brackets a rank with."""
    return np.sort(values[::_SAMPLE_STEP])


def ciou(predicted: Bools, truth: NDArray[Any]) -> Floats:
    """Return each sample's consensus IoU: sum(P G) / (sum(G) + #(P and G = 0)).

    Args:
        predicted: `(n, H, W)`.
        truth: `(n, H, W)` in [0, 1].

    Returns:
        `(n,)` in [0, 1]; 0 where both are empty.
    """
    hit: Floats = np.where(predicted, truth, 0).sum((1, 2), dtype=np.float64)
    whole = truth.sum((1, 2), dtype=np.float64) + (predicted & (truth == 0)).sum((1, 2))
    shares: Floats = np.divide(hit, whole, out=np.zeros_like(hit), where=whole > 0)
    return shares


def confidences(maps: Maps) -> Floats:
    """Return each map's largest value, `(n,)`; NaN counts as minus infinity."""
    peaks: Floats = np.where(np.isnan(maps), -np.inf, maps).max((1, 2)).astype(np.float64)
    return peaks


def top_quarter(maps: Maps) -> Floats:
    """Return the mean of each map's highest quarter of pixels, `(n,)` (SLAVC's confidence).

    NaN counts as minus infinity.
    """
    flat = np.where(np.isnan(maps), -np.inf, maps).reshape(len(maps), -1)
    return np.array([mean_of_top_quarter(values) for values in flat], np.float64)


def mean_of_top_quarter(values: NDArray[Any], sample: NDArray[Any] | None = None) -> float:
    """Return the mean of the highest quarter of `(N,)` values without NaN.

    Args:
        values: One map.
        sample: As in `order_statistic`.
    """
    quarter = max(1, len(values) // 4)
    last = order_statistic(values, len(values) - quarter, sample)
    above = values[values > last]
    total = above.sum(dtype=np.float64) + (quarter - len(above)) * float(last)
    return float(total / quarter)
