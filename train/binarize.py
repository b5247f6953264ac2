"""From maps to predicted pixels, and their overlap with the truth."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
    flat = np.where(np.isnan(maps), -np.inf, maps).reshape(len(maps), -1)
    num_pixels = flat.shape[1]
    if rule is Threshold.MEDIAN:
        wanted = np.full(len(flat), num_pixels - num_pixels // 2)
    elif areas_px is None:
        raise ValueError("the adaptive rule needs the areas of the ground truth")
    else:
        wanted = np.asarray(areas_px)
    chosen = np.zeros(flat.shape, bool)
    for row, values, area in zip(chosen, flat, wanted.tolist(), strict=True):
        if area:
            rank = num_pixels - area
            beats(values, np.partition(values, rank)[rank], out=row)
    return chosen.reshape(maps.shape) & ~np.isnan(maps)


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
    first = flat.shape[1] - max(1, flat.shape[1] // 4)
    means: Floats = np.partition(flat, first)[:, first:].mean(1, dtype=np.float64)
    return means
