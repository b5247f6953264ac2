"""Metrics as plain loops, one pixel or one sample at a time."""

from __future__ import annotations

import itertools
import math


def top_pixels(values: list[float], count: int) -> list[bool]:
    """Choose the `count` highest values, and what ties with the lowest of them; never a NaN."""
    if count == 0:
        return [False] * len(values)
    ranked = sorted((-math.inf if math.isnan(v) else v for v in values), reverse=True)
    last = ranked[count - 1]
    return [not math.isnan(v) and v >= last for v in values]


def ciou(predicted: list[bool], truth: list[float]) -> float:
    hit = sum(t for p, t in zip(predicted, truth, strict=True) if p)
    total = sum(truth) + sum(p and t == 0 for p, t in zip(predicted, truth, strict=True))
    return hit / total if total else 0.0


def auc(cious: list[float]) -> float:
    rates = [sum(c >= 0.05 * i for c in cious) / len(cious) for i in range(21)]
    return sum((low + high) / 2 * 0.05 for low, high in itertools.pairwise(rates))


def counts(
    confidence: list[float], cious: list[float], positive: list[bool], threshold: float, at: float
) -> tuple[int, int, int]:
    tp = fp = fn = 0
    for score, overlap, is_positive in zip(confidence, cious, positive, strict=True):
        if not is_positive:
            fp += score >= threshold
        elif score < threshold:
            fn += 1
        elif overlap >= at:
            tp += 1
        else:
            fp += 1
    return tp, fp, fn


def precision_recall(tp: int, fp: int, fn: int) -> tuple[float, float]:
    return (tp / (tp + fp) if tp + fp else 1.0), (tp / (tp + fn) if tp + fn else 1.0)


def average_precision(
    confidence: list[float], cious: list[float], positive: list[bool], at: float = 0.5
) -> float:
    points = [
        precision_recall(*counts(confidence, cious, positive, threshold, at))
        for threshold in sorted(set(confidence), reverse=True)
    ]
    area, reached = 0.0, 0.0
    for index, (_, recall) in enumerate(points):
        area += max(precision for precision, _ in points[index:]) * (recall - reached)
        reached = recall
    return area


def max_f1(
    confidence: list[float], cious: list[float], positive: list[bool], at: float = 0.5
) -> float:
    found = []
    for threshold in confidence:
        tp, fp, fn = counts(confidence, cious, positive, threshold, at)
        found.append(2 * tp / (2 * tp + fp + fn))
    return max(found)


def recall_at(
    similarity: list[list[float]], queries: list[int], gallery: list[int], k: int
) -> float:
    hits = 0
    for scores, label in zip(similarity, queries, strict=True):
        order = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
        hits += any(gallery[item] == label for item in order[:k])
    return hits / len(queries)
