"""Metrics as plain loops, one pixel or one sample at a time.

Peers as their released test code does it: `test.py` and `utils.py` of EZ-VSL, SLAVC and
SSLalignment, `test.py` of LVS.
"""

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


def slavc_average_precision(
    confidence: list[float], cious: list[float], positive: list[bool], at: float = 0.5
) -> float:
    ascending = sorted(confidence)
    ascending.pop()
    step = max(1, len(confidence) // 200)
    points = [
        precision_recall(*counts(confidence, cious, positive, threshold, at))
        for threshold in ascending[::-1][::step]
    ]
    area = 0.0
    for index in range(len(points) - 1):
        envelope = max(precision for precision, _ in points[index:])
        area += envelope * (points[index + 1][1] - points[index][1])
    return area


def slavc_max_f1(
    confidence: list[float], cious: list[float], positive: list[bool], at: float = 0.5
) -> float:
    found = []
    for threshold in sorted(confidence)[:: max(1, len(confidence) // 10)]:
        precision, recall = precision_recall(*counts(confidence, cious, positive, threshold, at))
        both = precision + recall
        found.append(2 * precision * recall / both if both else 0.0)
    return max(found)


def minmax(values: list[float]) -> list[float]:
    """What cannot be stretched stays as it is (the peers)."""
    low, high = min(values), max(values)
    return [(v - low) / (high - low) for v in values] if high > low else list(values)


def ez_vsl(values: list[float], truth: list[float]) -> dict[str, float]:
    stretched = minmax(values)
    threshold = sorted(stretched)[int(len(stretched) * 0.5)]
    return {"ciou": ciou([v >= threshold for v in stretched], truth)}


def slavc(values: list[float], truth: list[float], temperature: float = 0.03) -> dict[str, float]:
    """With `--relative_prediction`; `ciou_fixed` is without."""
    logits = [v / temperature for v in values]
    fixed = [(v + 1 / temperature) / (2 / temperature) for v in logits]
    highest = sorted(fixed, reverse=True)[: len(fixed) // 4]
    stretched = minmax(fixed)
    threshold = sorted(stretched)[int(len(stretched) * 0.5)]
    return {
        "confidence": sum(highest) / len(highest),
        "ciou": ciou([v >= threshold for v in stretched], truth),
        "ciou_fixed": ciou([v >= 0 for v in values], truth),  # 0.5 of the fixed range
    }


def ssl_alignment(values: list[float], truth: list[float]) -> dict[str, float]:
    stretched = [1 - v for v in minmax([-v for v in values])]
    ascending = sorted(stretched)
    area = sum(t != 0 for t in truth)
    middle = ascending[len(ascending) // 2]
    last = ascending[len(ascending) - area] if area else middle
    return {
        "ciou": ciou([v > middle for v in stretched], truth),
        "ciou_adaptive": ciou([v > last for v in stretched], truth),
    }


def lvs(values: list[float], truth: list[float]) -> dict[str, float]:
    """What is above the threshold becomes 1, what is then below 1 becomes 0, half is predicted."""
    predicted = [1 - v for v in minmax([-v for v in values])]
    threshold = sorted(predicted)[len(predicted) // 2]
    predicted = [1 if v > threshold else v for v in predicted]
    predicted = [0 if v < 1 else v for v in predicted]
    return {"ciou": ciou([v >= 0.5 for v in predicted], truth)}


def avpipe(values: list[float], truth: list[float]) -> dict[str, float]:
    known = [v for v in values if not math.isnan(v)]
    middle = (min(known) + max(known)) / 2 if known else math.inf
    area = sum(t > 0 for t in truth)
    return {
        "confidence": max(known, default=-math.inf),
        "ciou": ciou(top_pixels(values, len(values) - len(values) // 2), truth),
        "ciou_adaptive": ciou(top_pixels(values, area), truth),
        "ciou_fixed": ciou([v >= middle for v in values], truth),
    }


def blended(protocol: str, av: list[float], objects: list[float], alpha: float) -> list[float]:
    if protocol == "slavc":
        pairs = zip([(v + 1) / 2 for v in av], [v / 2.5 for v in objects], strict=True)
    else:
        pairs = zip(minmax(av), minmax(objects), strict=True)
    mixed = [alpha * v + (1 - alpha) * o for v, o in pairs]
    return minmax(mixed) if protocol in ("ez-vsl", "ssl-alignment") else mixed


def worst_of_groups(cious: list[float], groups: list[int], at: float) -> float:
    """IIoU: the share of groups all of whose members reach `at`."""
    reached = [
        min(float(c >= at) for c, g in zip(cious, groups, strict=True) if g == group)
        for group in set(groups)
    ]
    return sum(reached) / len(reached)
