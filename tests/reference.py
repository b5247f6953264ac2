"""Reference implementations with plain loops, to compare the fast ones with. Append only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def cosine(a: Floats, b: Floats) -> float:
    """Product of two L2-normalised vectors."""
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def cross_entropy(scores: Sequence[float], own: int) -> float:
    """-log of the softmax of one score among all."""
    return -math.log(math.exp(scores[own]) / sum(math.exp(score) for score in scores))


def pooled(cosines: Sequence[float], pooling: str, temperature: float) -> float:
    """One score of a map's cells."""
    if pooling == "max":
        return max(cosines)
    if pooling == "mean":
        return sum(cosines) / len(cosines)
    mean = sum(math.exp(value / temperature) for value in cosines) / len(cosines)
    return temperature * math.log(mean)


def cells(visual: Floats) -> list[Floats]:
    """The cells of one map `(D, h, w)`, row by row."""
    _, height, width = visual.shape
    return [visual[:, y, x] for y in range(height) for x in range(width)]


def ez_vsl(
    visual: Floats, audio: Floats, temperature: float, pooling: str = "max", soft: float = 0.1
) -> tuple[float, float]:
    """Image-to-audio and audio-to-image contrast of `(N, D, h, w)` and `(N, D)`."""
    num = len(visual)
    score = [
        [
            pooled([cosine(cell, audio[m]) for cell in cells(visual[n])], pooling, soft)
            / temperature
            for m in range(num)
        ]
        for n in range(num)
    ]
    rows = [cross_entropy(score[n], n) for n in range(num)]
    columns = [cross_entropy([score[n][m] for n in range(num)], m) for m in range(num)]
    return sum(rows) / num, sum(columns) / num


def slavc_product(
    visual: tuple[Floats, Floats], audio: tuple[Floats, Floats], temperature: float, best: bool
) -> list[list[float]]:
    """P[n][m]: over cells, sum or best of softmax over sounds times softmax over cells."""
    num = len(visual[0])
    result = [[0.0] * num for _ in range(num)]
    for n in range(num):
        first, second = (cells(head[n]) for head in visual)
        for m in range(num):
            products = []
            for x in range(len(first)):
                match = math.exp(cosine(first[x], audio[0][m]) / temperature)
                among_sounds = sum(
                    math.exp(cosine(first[x], audio[0][j]) / temperature) for j in range(num)
                )
                here = math.exp(cosine(second[x], audio[1][m]) / temperature)
                among_cells = sum(
                    math.exp(cosine(cell, audio[1][m]) / temperature) for cell in second
                )
                products.append(match / among_sounds * here / among_cells)
            result[n][m] = max(products) if best else sum(products)
    return result


def slavc_term(product: list[list[float]], over_images: bool) -> float:
    """Mean over pairs of -log P[n][n] / sum P, over sounds or over images."""
    num = len(product)
    total = 0.0
    for n in range(num):
        among = [product[j][n] for j in range(num)] if over_images else product[n]
        total -= math.log(product[n][n] / sum(among))
    return total / num


def normalised_sine(
    wave: Any, frequency: float, shape: tuple[int, ...], shift: float = 0.0
) -> Floats:
    """wave(frequency * k + shift) for k = 1, 2, ... in `shape`, L2-normalised over axis 1."""
    count = math.prod(shape)
    values = wave(frequency * np.arange(1, count + 1, dtype=np.float64) + shift).reshape(shape)
    normalised: Floats = values / np.sqrt((values**2).sum(1, keepdims=True))
    return normalised


def crop_flip(frame: NDArray[np.uint8], box: Sequence[int], mirrored: bool) -> NDArray[np.uint8]:
    """The box (top, left, height, width) of one frame, pixel by pixel, mirrored or not."""
    top, left, height, width = box
    result = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            result[y, width - 1 - x if mirrored else x] = frame[top + y, left + x]
    return result


def mean_pool(values: Floats, side: int) -> Floats:
    """Averages over squares of a matrix; what is left over at its ends is dropped."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            square = values[i * side : (i + 1) * side, j * side : (j + 1) * side]
            result[i, j] = sum(float(v) for v in square.ravel()) / side**2
    return result


def top_mean(values: Sequence[float], count: int) -> float:
    """Mean of the `count` largest."""
    return sum(sorted(values)[-count:]) / count


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value))."""
    return 1 / (1 + math.exp(-value))


def alignment(
    visual: Floats, audio: Floats, projected: tuple[Floats, Floats], temperature: float
) -> tuple[float, float]:
    """Images to sounds: by the mean cosine over cells, and by the projections' cosine."""
    num = len(visual)
    local, whole = 0.0, 0.0
    for n in range(num):
        scores = [
            pooled([cosine(cell, audio[m]) for cell in cells(visual[n])], "mean", 0) / temperature
            for m in range(num)
        ]
        local += cross_entropy(scores, n)
        scores = [cosine(projected[0][n], projected[1][m]) / temperature for m in range(num)]
        whole += cross_entropy(scores, n)
    return local / num, whole / num


def lvs(visual: Floats, audio: Floats, own_as_coded: bool, temperature: float = 0.07) -> float:
    """The tri-map contrast, image by image."""
    num, total = len(visual), 0.0

    def weighted(values: list[float], weights: list[float]) -> float:
        pairs = zip(values, weights, strict=True)
        return sum(value * weight for value, weight in pairs) / sum(weights)

    for n in range(num):
        own = [cosine(cell, audio[n]) for cell in cells(visual[n])]
        scores = [weighted(own, [sigmoid((value - 0.65) / 0.03) for value in own])]
        for m in range(num):
            other = [cosine(cell, audio[m]) for cell in cells(visual[n])]
            score = weighted(other, [sigmoid((value - 0.65) / 0.03) for value in other])
            if m != n:
                scores.append(score)
            elif own_as_coded:
                scores.append(score * (1 - 100))
        scores.append(weighted(own, [1 - sigmoid((value - 0.4) / 0.03) for value in own]))
        total += cross_entropy([score / temperature for score in scores], 0)
    return total / num


def hint_mse(student: Floats, teacher: Floats, per_cell: bool) -> float:
    """Mean over elements of the squared error of normalised features `(B, D, h, w)`."""
    batch, width, height, columns = student.shape
    total = 0.0
    for n in range(batch):
        groups = [[(d, y, x) for d in range(width)] for y in range(height) for x in range(columns)]
        if not per_cell:
            groups = [[index for group in groups for index in group]]
        for group in groups:
            long = [math.sqrt(sum(float(f[n][i]) ** 2 for i in group)) for f in (student, teacher)]
            for i in group:
                difference = student[n][i] / long[0] - teacher[n][i] / long[1]
                total += float(difference) ** 2
    return total / student.size


def promotion(
    visual: Floats, audio: Floats, features: Floats, threshold: float, temperature: float
) -> tuple[float, list[list[float]]]:
    """Sound promotion's match loss against the previous clip's sound, and its object features."""
    num = len(visual)
    loss, objects = 0.0, []
    for n in range(num):
        masks = [
            [
                sigmoid((cosine(cell, audio[m]) - threshold) / temperature)
                for cell in cells(visual[n])
            ]
            for m in (n, (n - 1) % num)
        ]
        loss -= (math.log(max(masks[0])) + math.log(1 - max(masks[1]))) / (2 * num)
        objects.append(
            [
                sum(
                    float(cell[c]) * weight
                    for cell, weight in zip(cells(features[n]), masks[0], strict=True)
                )
                / len(masks[0])
                for c in range(features.shape[1])
            ]
        )
    return loss, objects
