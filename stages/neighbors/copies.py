"""Near-duplicates of clips: the same picture or the same sound under another name.

A copy that was encoded again, cut by a pixel or renamed keeps its coarse picture and the course of
its sound. Both become short vectors, which need no network, and the search is that of `knn`. What
was shifted in time by more than a tenth of a second, mirrored or cut otherwise is not found.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...cache.schema import EXTRACT
from ...cache.store import Cache
from ..spectrogram import FRONT_ENDS
from .cosine import QUERY_BLOCK, nearest

FRAME_ALIKE = 0.98
SOUND_ALIKE = 0.75
"""Cosines from which two clips are suspected; docs/benchmarks.md has what they find, and miss."""
_SIDE = 24
_BANDS, _STEPS = 32, 46
_FLAT_PICTURE = 3.0
"""Deviation in grey levels under which a picture is too plain to be known again."""
_FLAT_SOUND = 0.05
"""Deviation of the print's logarithms under which a sound has no course: silence, a lasting hum."""
_ASKED = 4
_AT_ONCE = 2048
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Prints:
    """What clips are known by, unit vectors; zeros where a clip has nothing to be known by.

    Attributes:
        ids: `(n,)`.
        frames: `(n, 3 * 24 * 24)`.
        sounds: `(n, 32 * 46)`.
        kind: The spectrograms' front-end; prints of different ones cannot be compared.
    """

    ids: tuple[str, ...]
    frames: Vector
    sounds: Vector
    kind: str


@dataclass(frozen=True)
class Copy:
    """A test clip that seems to be among the training clips.

    Attributes:
        test: Its id.
        training: The id of what it is like.
        frame: Cosine of their pictures.
        sound: Cosine of their sounds.
    """

    test: str
    training: str
    frame: float
    sound: float


def frame_print(frame: Image.Image) -> Vector:
    """Return a picture's coarse colours less their mean, `(1728,)` of unit length, or zeros."""
    small = frame.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    values = np.asarray(small, np.float32)
    return _unit(values - values.mean((0, 1)), _FLAT_PICTURE)


def sound_print(window: NDArray[np.floating]) -> Vector:
    """Return the course of a sound: its log-spectrogram less each band's and each moment's mean.

    What lasts is taken out, as a hum, or the fall towards high frequencies that most sounds share.

    Args:
        window: `(bins, columns)` of the centred window.

    Returns:
        `(1472,)` of unit length, or zeros.
    """
    bands = _pooled(np.asarray(window, np.float32), _BANDS)
    coarse = _pooled(bands.T, _STEPS).T
    course = coarse - coarse.mean(1, keepdims=True)
    course -= course.mean(0)
    return _unit(course, _FLAT_SOUND)


def _pooled(values: Vector, parts: int) -> Vector:
    """Average rows in so many parts of equal length, what is left over in the last."""
    starts = np.linspace(0, len(values), parts + 1).astype(np.int64)[:-1]
    counts = np.diff([*starts.tolist(), len(values)])[:, None]
    return (np.add.reduceat(values, starts, axis=0) / counts).astype(np.float32)


def _unit(values: Vector, flat: float) -> Vector:
    vector = values.ravel()
    if not np.isfinite(vector).all() or vector.std() < flat:
        return np.zeros_like(vector)
    return vector / np.linalg.norm(vector)


def prints_of(cache: Cache, ids: Sequence[str], *, threads: int = 2) -> Prints:
    """Read clips of a cache and make their prints; about a millisecond a clip.

    Args:
        cache: The cache.
        ids: Clips that it has.
        threads: That read.
    """
    kind = str(cache.locate(EXTRACT, cache.row_of(ids[0]))[0].header.params["spectrogram"])
    front_end = FRONT_ENDS[kind]
    centre = slice(front_end.margin, front_end.margin + front_end.num_columns)
    jpegs, spectrograms = (
        cache.column(f"{EXTRACT}/{name}") for name in ("frame_jpeg", "spectrogram_wide")
    )

    def read(place: tuple[NDArray[np.uint8], Vector]) -> tuple[Vector, Vector]:
        with Image.open(io.BytesIO(place[0].tobytes())) as picture:
            picture.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # decoded at an eighth of its size
            return frame_print(picture), sound_print(place[1][:, centre])

    found: list[tuple[Vector, Vector]] = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(ids), _AT_ONCE):
            rows = [cache.row_of(name) for name in ids[start : start + _AT_ONCE]]
            found += pool.map(read, [(jpegs[row], spectrograms[row]) for row in rows])
    frames, sounds = (np.stack(parts) for parts in zip(*found, strict=True))
    return Prints(tuple(ids), frames, sounds, kind)


def find_copies(
    test: Prints,
    training: Prints,
    *,
    frame_alike: float = FRAME_ALIKE,
    sound_alike: float = SOUND_ALIKE,
) -> list[Copy]:
    """Find test clips whose picture or sound is that of a training clip with another id.

    Args:
        test: The test clips.
        training: The training clips.
        frame_alike: Cosine of pictures from which a clip is suspected.
        sound_alike: The same of sounds; not looked at where the front-ends differ.

    Returns:
        For each suspected test clip the training clip that is most like it, in the test's order.
    """
    same_kind = test.kind == training.kind
    parts = [(test.frames, training.frames, frame_alike)]
    parts += [(test.sounds, training.sounds, sound_alike)] if same_kind else []
    found: list[Copy] = []
    pairs: dict[int, set[int]] = {}
    for own, others, alike in parts:
        for row, other in _alike(own, others, alike):
            if test.ids[row] != training.ids[other]:
                pairs.setdefault(row, set()).add(other)
    for row, likely in sorted(pairs.items()):
        copies = [_copy(test, training, row, other, same_kind) for other in sorted(likely)]
        found.append(max(copies, key=lambda copy: max(copy.frame, copy.sound)))
    return found


def _copy(test: Prints, training: Prints, row: int, other: int, same_kind: bool) -> Copy:
    sound = float(test.sounds[row] @ training.sounds[other]) if same_kind else 0.0
    frame = float(test.frames[row] @ training.frames[other])
    return Copy(test.ids[row], training.ids[other], frame, sound)


def _alike(own: Vector, others: Vector, alike: float) -> list[tuple[int, int]]:
    """Return (test, training) of the nearest training vectors that are near enough."""
    known = np.flatnonzero(own.any(1))
    if not len(known) or not len(others):
        return []
    unit = np.concatenate([others, own[known]])
    ends = range(len(others), len(unit), QUERY_BLOCK)
    blocks = [range(start, min(start + QUERY_BLOCK, len(unit))) for start in ends]
    found = []
    for block, (rows, cosines) in zip(
        blocks, nearest(unit, len(others), min(_ASKED, len(others)), blocks), strict=True
    ):
        for position, (near, scores) in enumerate(zip(rows, cosines, strict=True), block.start):
            row = int(known[position - len(others)])
            found += [
                (row, int(other))
                for other, score in zip(near, scores, strict=True)
                if other >= 0 and score >= alike
            ]
    return found
