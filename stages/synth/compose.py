"""Clips composed of photographs and recordings: which files, where they lie, how they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...cache.schema import FULL_SCALE
from .encode import encode
from .frames import Pixels, drift
from .load import MaterialFile, load
from .scenes import SIDE_PX, SynthClip, SynthObject, cycle, place_px
from .split import Cast
from .timbre import NUM_SAMPLES, RATE_HZ, room_noise
from .world import MATERIAL, PICTURE, SOUND

LONGEST = {2: 0.55, 3: 0.45}
"""An object's longest side as a share of the picture's, by objects in it: so many always fit."""

_MIN_PX = 12
_CONTRAST, _BRIGHTNESS = (0.85, 1.15), (-15.0, 15.0)
_PIECE, _LIGHT = (0.65, 1.0), (0.75, 1.1)
"""Of a background: share of its short side that is shown, and factor of its brightness."""

_GAP_S = (0.05, 0.5)
_LOUDNESS_DB = (-14.0, 0.0)
_PEAK = 0.9
_EXCERPTS = 8
_AUDIBLE = 0.1
"""An excerpt is taken if it has a tenth of the recording's amplitude: recordings have pauses."""


@dataclass(frozen=True)
class ComposedClip(SynthClip):
    """A clip with what it is made of.

    Attributes:
        photos: Of each object.
        recording: Of the class that sounds.
        background: Behind them.
    """

    photos: tuple[MaterialFile, ...]
    recording: MaterialFile
    background: MaterialFile


class Casting:
    """Gives planned clips their files, each once before any of its class and split comes again."""

    def __init__(self, seed: int, cast: Cast, size: tuple[float, float], num_objects: int) -> None:
        """Begin with every deck full.

        Args:
            seed: Of the world.
            cast: Classes and their files.
            size: Bounds of the geometric mean of an object's sides, as shares of the picture's.
            num_objects: Objects in a picture.
        """
        self._rng = np.random.default_rng([seed, MATERIAL])
        self._cast, self._size = cast, size
        self._longest_px = LONGEST[num_objects] * SIDE_PX
        self._decks: dict[tuple[object, ...], Iterator[int]] = {}
        self._photos: dict[int, tuple[MaterialFile, ...]] = {}

    def arrange(
        self, rng: np.random.Generator, clip: SynthClip, shown: Sequence[int]
    ) -> tuple[SynthObject, ...]:
        """Choose photographs and place them; see `scenes.Arrange`."""
        sizes = [self._size] * len(shown)
        photos, sizes_px = self.choose(rng, clip.split, shown, sizes)
        self._photos[clip.index] = photos
        return place_px(rng, shown, sizes_px)

    def choose(
        self,
        rng: np.random.Generator,
        split: str,
        shown: Sequence[int],
        sizes: Sequence[tuple[float, float]],
    ) -> tuple[tuple[MaterialFile, ...], NDArray[np.int64]]:
        """Return a photograph of each class, and `(n, 2)` widths and heights to draw them in."""
        photos = tuple(
            self._next("photo", one, split, self._cast.classes[one].photos[split]) for one in shown
        )
        means_px = [rng.uniform(*bounds) * SIDE_PX for bounds in sizes]
        return photos, np.array(
            [self._fitted(photo, mean) for photo, mean in zip(photos, means_px, strict=True)],
            np.int64,
        ).reshape(-1, 2)

    def complete(self, clip: SynthClip) -> ComposedClip:
        """Add sound and background to a clip that was arranged."""
        recording = self.recording(clip.sound_class, clip.split)
        background = self.background(clip.split)
        return ComposedClip(**vars(clip), photos=self._photos[clip.index],
                            recording=recording, background=background)  # fmt: skip

    def recording(self, of_class: int, split: str) -> MaterialFile:
        """Return the next recording of a class."""
        return self._next("sound", of_class, split, self._cast.classes[of_class].sounds[split])

    def background(self, split: str) -> MaterialFile:
        """Return the next background."""
        return self._next("background", None, split, self._cast.backgrounds[split])

    def _next(
        self, kind: str, of_class: int | None, split: str, files: Sequence[MaterialFile]
    ) -> MaterialFile:
        key = (kind, of_class, split)
        if key not in self._decks:
            self._decks[key] = cycle(self._rng, range(len(files)))
        return files[next(self._decks[key])]

    def _fitted(self, photo: MaterialFile, mean_px: float) -> list[int]:
        height, width = photo.shape[:2]
        scale = min(mean_px / np.sqrt(width * height), self._longest_px / max(width, height))
        return [max(_MIN_PX, round(side * scale)) for side in (width, height)]


def encode_composed(clip: SynthClip, *, seed: int, noise_db: tuple[float, float]) -> bytes:
    """Compose a clip and encode it, as `encode.encode_clip` does a drawn one.

    A clip is a function of its plan and files, the seed and the versions.

    Args:
        clip: A `ComposedClip`.
        seed: Of the world.
        noise_db: Bounds of how far the noise lies below the sound.
    """
    assert isinstance(clip, ComposedClip)
    picture_rng = np.random.default_rng([seed, PICTURE, clip.index])
    sound_rng = np.random.default_rng([seed, SOUND, clip.index])
    wave = with_noise(excerpt(load(clip.recording), sound_rng), noise_db, sound_rng)
    return encode(composed_frames(clip, picture_rng), wave)


def composed_frames(clip: ComposedClip, rng: np.random.Generator) -> Iterator[Pixels]:
    """Yield the clip's 60 frames; every object fills its box in the middle one."""
    background = _background(load(clip.background), rng)
    sprites = []
    for item in rng.permutation(np.arange(len(clip.objects))):
        thing = clip.objects[item]
        x1, y1, x2, y2 = thing.box_px
        colour, opacity = _cut_out(load(clip.photos[item]), x2 - x1, y2 - y1, rng)
        sprites.append((thing, colour, opacity))
    yield from drift(background, sprites)


def _cut_out(
    photo: Pixels, width_px: int, height_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return colour in 0..255 and opacity in 0..256 of a photograph, perhaps mirrored."""
    image = Image.fromarray(photo).resize((width_px, height_px), Image.Resampling.LANCZOS)
    pixels = np.asarray(image).astype(np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    contrast, brightness = rng.uniform(*_CONTRAST), rng.uniform(*_BRIGHTNESS)
    colour = np.clip((pixels[..., :3] - 128) * contrast + 128 + brightness, 0, 255)
    opacity = np.rint(pixels[..., 3:] * (256 / 255))
    return np.rint(colour).astype(np.uint16), opacity.astype(np.uint16)


def _background(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a square piece of a background at the picture's size, perhaps mirrored."""
    height, width = picture.shape[:2]
    side = max(1, int(rng.uniform(*_PIECE) * min(height, width)))
    x, y = (int(rng.integers(0, length - side + 1)) for length in (width, height))
    image = Image.fromarray(picture).resize(
        (SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side)
    )
    pixels = np.asarray(image)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    lit: Pixels = np.clip(np.rint(pixels * rng.uniform(*_LIGHT)), 0, 255).astype(np.uint8)
    return lit


def excerpt(recording: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return 4 s of a recording that can be heard; a shorter one repeats after pauses."""
    wave: NDArray[np.float32] = recording.astype(np.float32) / np.float32(FULL_SCALE)
    enough = _AUDIBLE * _level(wave)
    num_starts = len(wave) - NUM_SAMPLES + 1
    if num_starts <= 0:
        num_starts = len(wave)
        parts, total = [wave], len(wave)
        while total < len(wave) + NUM_SAMPLES:
            gap = np.zeros(round(rng.uniform(*_GAP_S) * RATE_HZ), np.float32)
            parts += [gap, wave]
            total += len(gap) + len(wave)
        wave = np.concatenate(parts)
    pieces = []
    for _ in range(_EXCERPTS):
        start = int(rng.integers(num_starts))
        pieces.append(wave[start : start + NUM_SAMPLES])
        if _level(pieces[-1]) >= enough:
            return pieces[-1]
    return max(pieces, key=_level)


def with_noise(
    wave: NDArray[np.float32], noise_db: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return `(1, 176400)`: sound in pink noise, at a random loudness, below full scale."""
    below = 10 ** (-rng.uniform(*noise_db) / 20)
    noisy = wave + room_noise(rng) * (max(_level(wave), 1e-4) * below)
    gain = 10 ** (rng.uniform(*_LOUDNESS_DB) / 20) * _PEAK / np.abs(noisy).max()
    mixed: NDArray[np.float32] = (noisy * gain).astype(np.float32)[None]
    return mixed


def _level(wave: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
