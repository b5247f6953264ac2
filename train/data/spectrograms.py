"""What a recipe hears: the spectrograms the cache holds, or others computed from its sound.

A computed one is what `extract` with that `--spectrogram` would store, up to the 16 bits and the
32 kHz that the sound is kept with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...advice import advice
from ...cache.schema import AUDIO, AUDIO_RATE_HZ, EXTRACT, FULL_SCALE
from ...cache.shard import Shard
from ...cache.state import is_dropped, shard_numbers
from ...cache.store import Cache
from ...errors import InputError
from ...stages.spectrogram import (
    FRONT_ENDS,
    FrontEnd,
    Placement,
    log_spectrogram,
    place_window,
    wide_window,
)


def front_end_to_compute(cache: Cache, rows: NDArray[np.int64], kind: str) -> FrontEnd | None:
    """Say whether spectrograms have to be computed.

    Args:
        cache: The cache.
        rows: Clips.
        kind: What is to be heard, a name of `FRONT_ENDS`.

    Returns:
        The front-end, None where the cache holds its spectrograms.

    Raises:
        InputError: They have to be, and the cache has not the sound of these clips.
    """
    shard, _ = cache.locate(EXTRACT, int(rows[0]))
    stored = shard.header.params["spectrogram"]
    if stored == kind:
        return None
    why = f"{cache.path} holds spectrograms {stored}, the recipe hears {kind}"
    if is_dropped(cache.path, AUDIO):
        mend = advice("extract --overwrite", cache.path)
        raise InputError(
            f"{why}, and the sound to compute them from was dropped; {mend} decodes it again, a "
            f"recipe of your own may take `--set spectrogram={stored}`"
        )
    needed = {cache.manifest.shard_of(row) for row in rows.tolist()}
    if missing := sorted(needed - shard_numbers(cache.path, AUDIO)):
        mend = advice("verify --repair", cache.path)
        raise InputError(
            f"{why}, and {cache.path / AUDIO} lacks {len(missing)} of {len(needed)} shards to "
            f"compute them from; see {mend}"
        )
    return FRONT_ENDS[kind]


def valid_columns(audio: Shard, index: int, front_end: FrontEnd) -> tuple[int, int]:
    """Return the columns of a computed spectrogram that hold real sound, half-open."""
    return _placed(audio, index, front_end).valid_cols


def compute_spectrogram(audio: Shard, index: int, front_end: FrontEnd) -> NDArray[np.float32]:
    """Compute the wide log-spectrogram of one clip.

    Args:
        audio: A shard of `audio`.
        index: The clip's place in it.
        front_end: What is heard.

    Returns:
        `(257, wide_columns)` float32.
    """
    start, stop = audio.column("waveform_offset")[index : index + 2].tolist()
    waveform = audio.span("waveform", start, stop)
    return wide_spectrogram(waveform, int(audio.column("frame_sample")[index]), front_end)


def wide_spectrogram(
    waveform: NDArray[np.int16], frame_sample: int, front_end: FrontEnd
) -> NDArray[np.float32]:
    """Compute a wide log-spectrogram `(257, wide_columns)` of a sound as the cache holds it.

    Args:
        waveform: `(L,)`.
        frame_sample: Where in it the frame's time lies.
        front_end: What is heard.
    """
    sound = np.divide(waveform, np.float32(FULL_SCALE), dtype=np.float32)
    placed = _around(len(waveform), frame_sample, front_end)
    return log_spectrogram(wide_window(sound, AUDIO_RATE_HZ, front_end, placed), front_end.name)


def _placed(audio: Shard, index: int, front_end: FrontEnd) -> Placement:
    """Lay the window of a clip of a shard around the frame's time."""
    start, stop = audio.column("waveform_offset")[index : index + 2].tolist()
    return _around(stop - start, int(audio.column("frame_sample")[index]), front_end)


def _around(num_samples: int, frame_sample: int, front_end: FrontEnd) -> Placement:
    time_s = frame_sample / AUDIO_RATE_HZ
    return place_window(num_samples, AUDIO_RATE_HZ, front_end, start_s=0.0, time_s=time_s)
