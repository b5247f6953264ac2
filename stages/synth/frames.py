"""The frames of a synthetic clip: a textured background with objects drifting over it."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scenes import FRAME_RATE_HZ, MIDDLE_FRAME, NUM_FRAMES, SIDE_PX, SynthClip, SynthObject
from .world import Appearance, SynthClass

FloatPixels = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]
_RING_HOLE = 0.5
_GRAIN = 0.025
"""Standard deviation of the grain, on objects too: its absence would betray them."""


def _polygon(num_sides: int, angles: FloatPixels) -> FloatPixels:
    wedge = np.float32(2 * np.pi / num_sides)
    radii: FloatPixels = np.cos(wedge / 2) / np.cos(angles % wedge - wedge / 2)
    return radii


def _star(angles: FloatPixels) -> FloatPixels:
    radii: FloatPixels = 0.66 + 0.34 * np.cos(5 * angles)
    return radii


def _cross(angles: FloatPixels) -> FloatPixels:
    across, along = np.sort(np.abs([np.cos(angles), np.sin(angles)]), axis=0)
    radii: FloatPixels = np.minimum(1 / along, 0.36 / np.maximum(across, 1e-6))
    return radii


_RADIUS: dict[str, Callable[[FloatPixels], FloatPixels]] = {
    "disc": np.ones_like,
    "ring": np.ones_like,
    "square": lambda angles: _polygon(4, angles + np.float32(np.pi / 4)),
    "triangle": lambda angles: _polygon(3, angles + np.float32(np.pi / 2)),
    "diamond": lambda angles: _polygon(4, angles),
    "star": _star,
    "cross": _cross,
    "flower": lambda angles: 0.84 + 0.16 * np.cos(6 * angles),
}
"""Outline of each shape: radius as a function of the angle."""

_TEXTURE: dict[str, Callable[[FloatPixels, FloatPixels], NDArray[np.bool_]]] = {
    "plain": lambda p, q: np.ones(p.shape, bool),
    "striped": lambda p, q: np.sin(p) > 0,
    "checked": lambda p, q: np.sin(p) * np.sin(q) > 0,
    "dotted": lambda p, q: np.cos(p) + np.cos(q) < 0.7,
    "banded": lambda p, q: np.sin(np.hypot(p, q)) > 0,
}
"""Where a texture shows its first colour, given two perpendicular phases in radians."""


def frames(
    clip: SynthClip, classes: Sequence[SynthClass], rng: np.random.Generator
) -> Iterator[Pixels]:
    """Yield the clip's 60 frames, (256, 256, 3) uint8 RGB.

    In frame `MIDDLE_FRAME` every object fills its box. Before and after, it drifts in a straight
    line and stops at the picture's edge. The sounding object moves by the law of the silent ones.
    """
    background = _background(rng)
    drawn = []
    for item in rng.permutation(np.arange(len(clip.objects))):
        x1, y1, x2, y2 = clip.objects[item].box_px
        look = classes[clip.objects[item].class_index].appearance
        colour, opacity = sprite(look, x2 - x1, y2 - y1, rng)
        drawn.append((clip.objects[item], colour, opacity))
    yield from drift(background, drawn)


def drift(
    background: Pixels,
    sprites: Sequence[tuple[SynthObject, NDArray[np.uint16], NDArray[np.uint16]]],
) -> Iterator[Pixels]:
    """Yield the 60 frames of objects that drift over a background.

    Args:
        background: `(256, 256, 3)`.
        sprites: Each object with its colour and opacity, as `sprite` returns them; the last is on
            top.
    """
    drawn = []
    for thing, colour, opacity in sprites:
        # Rows of bytes: loops over three colours of a pixel would cost ten times as much.
        paint = _as_rows(colour * opacity + 128)
        clear = _as_rows(np.broadcast_to(256 - opacity, colour.shape))
        drawn.append((thing, clear, paint, np.empty_like(paint)))
    for number in range(NUM_FRAMES):
        frame = background.copy()
        rows = _as_rows(frame)
        elapsed_s = (number - MIDDLE_FRAME) / FRAME_RATE_HZ
        for thing, clear, paint, mixed in drawn:
            (x1, y1, x2, y2), (dx, dy) = thing.box_px, thing.velocity_px_s
            x = min(max(round(x1 + dx * elapsed_s), 0), SIDE_PX - (x2 - x1))
            y = min(max(round(y1 + dy * elapsed_s), 0), SIDE_PX - (y2 - y1))
            under = rows[y : y + y2 - y1, 3 * x : 3 * (x + x2 - x1)]
            np.multiply(under, clear, out=mixed)
            mixed += paint
            mixed >>= 8
            under[:] = mixed
        yield frame


def _as_rows(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return (height, width, 3) as (height, 3 * width)."""
    return np.ascontiguousarray(pixels).reshape(len(pixels), -1)


def sprite(
    look: Appearance, width_px: int, height_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Draw one object of a class, slightly turned and recoloured; it touches all four sides.

    Returns:
        colour (height_px, width_px, 3) in 0..255 and opacity (height_px, width_px, 1) in 0..256.
    """
    radius, turn = _RADIUS[look.shape], np.float32(rng.normal(0, 0.15))
    outline = np.linspace(-np.pi, np.pi, 1441, dtype=np.float32)
    x, y = radius(outline) * np.cos(outline + turn), radius(outline) * np.sin(outline + turn)
    u = x.min() + np.ptp(x) * (np.arange(2 * width_px, dtype=np.float32) + 0.5) / (2 * width_px)
    v = y.min() + np.ptp(y) * (np.arange(2 * height_px, dtype=np.float32) + 0.5) / (2 * height_px)
    u, v = np.meshgrid(u, v)
    distance, angle = np.hypot(u, v), np.arctan2(v, u) - turn
    inside = distance <= radius(angle)
    if look.shape == "ring":
        inside &= distance > _RING_HOLE
    opacity = (64 * inside.reshape(height_px, 2, width_px, 2).sum((1, 3))).astype(np.uint16)

    tilt = look.texture_angle + turn
    p = look.texture_scale * 2 * (np.cos(tilt) * u + np.sin(tilt) * v)[::2, ::2]
    q = look.texture_scale * 2 * (np.cos(tilt) * v - np.sin(tilt) * u)[::2, ::2]
    shift = rng.uniform(0, 2 * np.pi, 2) * (look.texture != "banded")
    first = _TEXTURE[look.texture](p + np.float32(shift[0]), q + np.float32(shift[1]))
    hue, pattern_hue = rng.normal([look.hue, look.pattern_hue], look.hue_jitter) % 1
    main = colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.65, 1))
    pattern = colorsys.hsv_to_rgb(pattern_hue, rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.8))
    colour = np.where(first[..., None], main, pattern).astype(np.float32)
    return _to_bytes(_grained(colour, rng)).astype(np.uint16), opacity[..., None]


def _background(rng: np.random.Generator) -> Pixels:
    """Noise of four octaves, muted in colour: (256, 256, 3)."""
    noise = np.zeros((3, SIDE_PX, SIDE_PX), np.float32)
    for cells in (3, 6, 12, 24):
        up = _interpolation(cells)
        noise += (up @ rng.random((3, cells, cells), np.float32) @ up.T) * (3 / cells) ** 0.5
    noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std()
    noise = 0.55 * noise.mean(0) + 0.45 * noise
    picture = np.float32(rng.uniform(0.3, 0.65)) + 0.14 * noise.transpose(1, 2, 0)
    return _to_bytes(_grained(picture, rng))


def _interpolation(cells: int) -> FloatPixels:
    """The (256, cells) matrix that stretches a line of cells linearly."""
    at = np.linspace(0, cells - 1, SIDE_PX, dtype=np.float32)[:, None]
    weights: FloatPixels = np.maximum(0, 1 - np.abs(at - np.arange(cells, dtype=np.float32)))
    return weights


def _grained(picture: FloatPixels, rng: np.random.Generator) -> FloatPixels:
    grain = rng.standard_normal(picture.shape[:2], np.float32)
    return picture + np.float32(_GRAIN) * grain[..., None]


def _to_bytes(picture: FloatPixels) -> Pixels:
    pixels: Pixels = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels
