"""Small folders of pictures and tones, as `avpipe synth --photos` takes them."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bell", "drum", "horn", "siren")
TONES_HZ = dict(zip(CLASSES, (400, 900, 1900, 4100), strict=True))
COLOURS = {
    "bell": (220, 30, 30),
    "drum": (30, 200, 30),
    "horn": (40, 40, 230),
    "siren": (230, 210, 30),
}
MARGIN = 7
"""Columns and rows around each object that are wholly transparent."""


def make_material(folder: Path, classes: Sequence[str] = CLASSES, each: int = 4) -> Path:
    """Make `photos`, `sounds` and `backgrounds` in a folder; every file has other content."""
    for label in classes:
        for number in range(each):
            write_photo(folder / "photos" / label / f"{number}.png", COLOURS[label], number)
            write_tone(folder / "sounds" / label / f"{number}.wav", TONES_HZ[label] + 8 * number)
    for number in range(each):
        path = folder / "backgrounds" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300 + number, 280), (110 + number,) * 3).save(path)
    return folder


def write_photo(path: Path, colour: tuple[int, int, int], number: int = 0) -> None:
    """Write a disc with alpha in a picture that has a margin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = 60 + 6 * number, 80
    y, x = np.mgrid[: height + 2 * MARGIN, : width + 2 * MARGIN] - MARGIN + 0.5
    inside = (2 * x / width - 1) ** 2 + (2 * y / height - 1) ** 2 <= 1
    pixels = np.zeros((*inside.shape, 4), np.uint8)
    pixels[..., :3] = 255 - np.array(colour)  # hidden where transparent, so it must not be seen
    pixels[inside] = (*colour, 255)
    Image.fromarray(pixels).save(path)


def write_tone(path: Path, tone_hz: float, seconds: float = 1.5, rate_hz: int = 22050) -> None:
    """Write a sine as 16-bit WAV; a frequency of 0 is silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = np.rint(12000 * np.sin(2 * np.pi * tone_hz * time_s)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
