"""What some benchmarks score beside cIoU, as plain loops over pixels.

AVSBench's, DSOL's and AVGN's arithmetic is written after their released test code.
"""

from __future__ import annotations

import math


def mask_iou(predicted: list[bool], truth: list[bool]) -> float:
    both = sum(p and t for p, t in zip(predicted, truth, strict=True))
    either = sum(p or t for p, t in zip(predicted, truth, strict=True))
    if not any(truth):
        both, either = sum(not p for p in predicted), len(predicted)
    return both / (either + 1e-7)


def f_curve(scores: list[float], truth: list[bool], thresholds: list[float]) -> list[float]:
    curve = []
    for threshold in thresholds:
        chosen = [score >= threshold for score in scores]
        hit = sum(c and t for c, t in zip(chosen, truth, strict=True))
        precision, recall = hit / (sum(chosen) + 1e-20), hit / (sum(truth) + 1e-20)
        below = 0.3 * precision + recall
        curve.append(1.3 * precision * recall / below if below else 0.0)
    return curve


def best_of_mean(curves: list[list[float]]) -> float:
    if not curves:
        return math.nan
    return max(sum(curve[i] for curve in curves) / len(curves) for i in range(len(curves[0])))


def pixel_ap(scores: list[float], truth: list[bool]) -> float:
    scores = [-math.inf if math.isnan(score) else score for score in scores]
    num, area, reached = sum(truth), 0.0, 0.0
    if not num:
        return 0.0
    for level in sorted(set(scores), reverse=True):
        chosen = [score >= level for score in scores]
        hit = sum(c and t for c, t in zip(chosen, truth, strict=True))
        area += (hit / num - reached) * hit / sum(chosen)
        reached = hit / num
    return area


def above_share(scores: list[float], share: float) -> list[bool]:
    known = [score for score in scores if not math.isnan(score)]
    peak = max(known, default=math.nan)
    return [score > share * peak for score in scores]


def softmax(values: list[float]) -> list[float]:
    powers = [0.0 if math.isnan(value) else math.exp(3 * value) for value in values]
    return [power / sum(powers) if sum(powers) else 0.0 for power in powers]
