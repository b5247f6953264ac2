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
