"""The classes of a synthetic world, as a function of its seed.

A class pairs an appearance (hue, shape, texture) with a timbre (family of sounds, band, rate). Both
lists are drawn from the seed and paired at random, so another seed is another world, not other
clips of the same one. Neighbours in hue never share a shape or a texture, neighbours in pitch never
share a family: every class can be told apart by eye and by ear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import MIN_TRAINED

SHAPES = ("disc", "ring", "square", "triangle", "diamond", "star", "cross", "flower")
TEXTURES = ("plain", "striped", "checked", "dotted", "banded")
FAMILIES = ("harmonic", "warble", "noise", "sweep", "click", "chord")
COLOURS = (
    *("red", "orange", "yellow", "lime", "green", "mint"),
    *("cyan", "azure", "blue", "violet", "magenta", "rose"),
)
"""Names of twelve hues, for people; hue 0 is red."""

MAX_HELD_OUT = 4
WORLD, PLAN, PICTURE, SOUND, PAIRS, CASES, MATERIAL = range(7)
"""Each use of the seed has its own stream of random numbers, `default_rng([seed, use, ...])`."""


@dataclass(frozen=True)
class Appearance:
    """How the objects of a class look. Hues in [0, 1), `texture_angle` in radians."""

    shape: str
    texture: str
    hue: float
    hue_jitter: float
    pattern_hue: float
    texture_scale: float
    texture_angle: float


@dataclass(frozen=True)
class Timbre:
    """How a class sounds.

    `band_hz` is where its energy lies, `rate_hz` how often its pattern repeats; each family reads
    `detail`, in [0, 1), in its own way (number of harmonics, width, ...).
    """

    family: str
    band_hz: float
    rate_hz: float
    detail: float


@dataclass(frozen=True)
class SynthClass:
    """One class of a world. Training clips neither show nor sound a class that is held out."""

    name: str
    appearance: Appearance
    timbre: Timbre
    held_out: bool


def num_held_out(num_classes: int) -> int:
    """How many classes are kept out of training: 4 of more than 8, else half of what exceeds 4."""
    return MAX_HELD_OUT if num_classes > 8 else max(0, (num_classes - MIN_TRAINED) // 2)


def draw_classes(seed: int, num_classes: int) -> tuple[SynthClass, ...]:
    """Draw the classes of a world. The last `num_held_out` ones are held out."""
    rng = np.random.default_rng([seed, WORLD])
    appearances = _draw_appearances(rng, num_classes)
    timbres = _draw_timbres(rng, num_classes)
    eye, ear = rng.permutation(num_classes), rng.permutation(num_classes)
    trained = num_classes - num_held_out(num_classes)
    classes = []
    for index in range(num_classes):
        look = appearances[eye[index]]
        colour = COLOURS[round(look.hue * len(COLOURS)) % len(COLOURS)]
        name = f"{index:02d}-{colour}-{look.texture}-{look.shape}"
        classes.append(SynthClass(name, look, timbres[ear[index]], held_out=index >= trained))
    return tuple(classes)


def _draw_appearances(rng: np.random.Generator, num_classes: int) -> list[Appearance]:
    """Hues evenly spread; shape and texture cycle along them (8 and 5 are coprime: 40 pairs)."""
    shapes, textures = rng.permutation(SHAPES), rng.permutation(TEXTURES)
    hues = (np.arange(num_classes) / num_classes + rng.random()) % 1
    return [
        Appearance(
            shape=str(shapes[i % len(shapes)]),
            texture=str(textures[i % len(textures)]),
            hue=float(hue),
            hue_jitter=min(0.012, 0.2 / num_classes),
            pattern_hue=float((hue + rng.uniform(0.3, 0.7)) % 1),
            texture_scale=float(rng.uniform(2.5, 4.5)),
            texture_angle=float(rng.uniform(0, np.pi)),
        )
        for i, hue in enumerate(hues)
    ]


def _draw_timbres(rng: np.random.Generator, num_classes: int) -> list[Timbre]:
    """Bands evenly spread on a log scale, all below 8 kHz; families cycle along them."""
    families = rng.permutation(FAMILIES)
    bands_hz = np.geomspace(600, 7000, num_classes) * np.exp(rng.uniform(-0.06, 0.06))
    return [
        Timbre(
            family=str(families[i % len(families)]),
            band_hz=float(band_hz),
            rate_hz=float(np.exp(rng.uniform(np.log(2), np.log(10)))),
            detail=float(rng.random()),
        )
        for i, band_hz in enumerate(bands_hz)
    ]
