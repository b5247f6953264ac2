"""Photographs, recordings and backgrounds from files, as small as composed clips need them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...cache.schema import FULL_SCALE
from ...errors import ClipError, InputError, Reason
from ..media.container import MAX_PIXELS, open_media
from ..media.mono import SoundWindow
from ..media.pyav_sound import channels_of
from ..media.still import eight_bit, open_picture
from ..spectrogram import resample
from .timbre import RATE_HZ

MaterialKind = Literal["photo", "sound", "background"]
MIN_SOUND_S = 0.2
MAX_SOUND_S = 30.0
"""Of longer recordings the first so many seconds are used."""

PHOTO_PX = 288
"""Longest side that is kept of a photograph; the largest object has half of it."""

BACKGROUND_PX = 394
"""Short side that is kept of a background: the smallest piece of it, 65 %, fills the picture."""

_VISIBLE = 32
"""Least opacity of 255 that counts when the box around an object is drawn."""

_SOFT_EDGE = 16
"""A photograph without alpha fades along a sixteenth of its short side."""

_SILENCE = 1e-4
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class MaterialFile:
    """A file that can be used.

    Attributes:
        kind: What it is.
        label: Its class; empty of a background.
        name: Its path in the folder of its kind.
        path: Where it is, surrogate-escaped where that is not UTF-8.
        digest: SHA-256 of its content.
        shape: Of what `load` returns.
    """

    kind: MaterialKind
    label: str
    name: str
    path: str
    digest: str
    shape: tuple[int, ...]


def read(kind: MaterialKind, path: str) -> tuple[NDArray[Any], str]:
    """Decode a file.

    Returns:
        The digest of its content, and of a photograph `(h, w, 4)` uint8 RGBA cut to what is opaque,
        of a background `(h, w, 3)` uint8 RGB, of a recording `(n,)` int16 at 44.1 kHz whose peak is
        full scale.

    Raises:
        ClipError: It cannot be used.
    """
    content: NDArray[Any]
    match kind:
        case "photo":
            content = _photo(path)
        case "sound":
            content = _recording(path)
        case "background":
            content = _background(path)
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ClipError(Reason.IO_ERROR, error.strerror or "") from None
    return content, digest


def load(file: MaterialFile) -> NDArray[Any]:
    """Decode a file, or return what this process kept of it.

    Raises:
        InputError: It is not what it was when it was first read.
    """
    content = _kept.get(file.digest)
    if content is None:
        try:
            content, digest = read(file.kind, file.path)
        except ClipError as error:
            raise InputError(f"{file.path}: {error}; run the same command again") from None
        if digest != file.digest:
            raise InputError(f"{file.path}: changed while in use; run the same command again")
        _kept.add(digest, content)
    return content


class _Recent:
    """What was decoded last, up to so many bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._bytes = limit_bytes, 0
        self._arrays: OrderedDict[str, NDArray[Any]] = OrderedDict()

    def get(self, digest: str) -> NDArray[Any] | None:
        if digest in self._arrays:
            self._arrays.move_to_end(digest)
        return self._arrays.get(digest)

    def add(self, digest: str, content: NDArray[Any]) -> None:
        if digest not in self._arrays:
            self._arrays[digest] = content
            self._bytes += content.nbytes
        while self._bytes > self._limit_bytes:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes


_kept = _Recent(_KEPT_BYTES)


def keep(digest: str, content: NDArray[Any]) -> None:
    """Keep what was decoded for `load`, in this process."""
    _kept.add(digest, content)


def _photo(path: str) -> NDArray[np.uint8]:
    picture = open_picture(path, MAX_PIXELS, lambda found: eight_bit(found).convert("RGBA"))
    seen = picture.getchannel("A").point([255 * (level >= _VISIBLE) for level in range(256)])
    box = seen.getbbox()
    if box is None:
        raise ClipError(Reason.NO_VIDEO, "wholly transparent")
    picture = picture.crop(box)
    picture.thumbnail((PHOTO_PX, PHOTO_PX), Image.Resampling.LANCZOS)
    pixels = np.array(picture)
    if pixels[..., 3].min() == 255:
        pixels[..., 3] = _soft_edged(*pixels.shape[:2])
    return pixels


def _soft_edged(height: int, width: int) -> NDArray[np.uint8]:
    """Return the opacity of a rectangle that fades at its edges, where it is still visible."""
    fade = max(1, min(height, width) // _SOFT_EDGE)

    def edge(length: int) -> NDArray[np.float64]:
        inside = np.minimum(np.arange(length), np.arange(length)[::-1])
        return np.minimum((inside + 1) / (fade + 1), 1)

    opacity = np.minimum.outer(edge(height), edge(width))
    rounded: NDArray[np.uint8] = np.rint(255 * np.maximum(opacity, 0.25)).astype(np.uint8)
    return rounded


def _background(path: str) -> NDArray[np.uint8]:
    picture = open_picture(path, MAX_PIXELS, lambda found: eight_bit(found).convert("RGB"))
    if min(picture.size) > BACKGROUND_PX:
        scale = BACKGROUND_PX / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.array(picture)


def _recording(path: str) -> NDArray[np.int16]:
    window = SoundWindow(0.0, MAX_SOUND_S)
    num_samples = 0
    with open_media(path) as container:
        if not container.streams.audio:
            raise ClipError(Reason.NO_AUDIO)
        for frame in container.decode(audio=0):
            window.add(channels_of(frame), frame.sample_rate, None if num_samples else 0.0)
            num_samples += frame.samples
            if num_samples > MAX_SOUND_S * frame.sample_rate:
                break
    wave, _ = window.waveform()
    duration_s = len(wave) / max(window.rate_hz, 1)
    if duration_s < MIN_SOUND_S:
        raise ClipError(Reason.TOO_SHORT, f"{duration_s:.2f} s of sound, at least {MIN_SOUND_S}")
    wave = resample(wave, window.rate_hz, RATE_HZ, round(duration_s * RATE_HZ))
    peak = float(np.abs(wave).max())
    if peak < _SILENCE:
        raise ClipError(Reason.NO_AUDIO, "silent from beginning to end")
    samples: NDArray[np.int16] = np.rint(wave * (FULL_SCALE / peak)).astype(np.int16)
    return samples
