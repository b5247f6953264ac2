"""The sum of two clips' sounds, for tests that ask where either comes from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...advice import advice
from ...cache.schema import AUDIO, FULL_SCALE
from ...cache.state import is_dropped
from ...cache.store import Cache
from ...errors import InputError


class Mixed(NamedTuple):
    """The sum of two sounds.

    Attributes:
        sound: `(L,)` at 32 kHz, 1.0 at either's full scale: what both have around that time.
        at: The sample of it that the frames' times lie at.
    """

    sound: NDArray[np.float32]
    at: int


def mixed_sound(cache: Cache, first: int, second: int) -> Mixed:
    """Add two clips' sounds so that their frames' times meet; the sum is not clipped.

    Args:
        cache: The cache.
        first: Row of one clip.
        second: Row of the other.

    Raises:
        InputError: The cache does not hold their sound.
    """
    if is_dropped(cache.path, AUDIO):
        mend = advice("extract --overwrite", cache.path)
        raise InputError(f"{cache.path}: mixtures need the sound, which was dropped; run {mend}")
    waveforms, frames = cache.column(f"{AUDIO}/waveform"), cache.column(f"{AUDIO}/frame_sample")
    try:
        sounds = [waveforms[row].astype(np.float32) / FULL_SCALE for row in (first, second)]
    except KeyError as error:
        raise InputError(f"{error.args[0]}; see {advice('verify --repair', cache.path)}") from None
    at = [int(frames[row]) for row in (first, second)]
    before = min(at)
    after = min(len(sound) - place for sound, place in zip(sounds, at, strict=True))
    parts = [sound[place - before : place + after] for sound, place in zip(sounds, at, strict=True)]
    return Mixed(np.asarray(parts[0] + parts[1], np.float32), before)
