"""The clips of a cache that look or sound most like what was given, as a run embeds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....cache.store import Cache, CachedClip
from ....stages.spectrogram import resample
from ....stages.wav import wav_bytes
from ....train.runs.localizer import Localizer
from ..media import jpeg_bytes

NUM_SHOWN = 5
MAX_CLIPS = 2000
"""More would make the page wait for minutes where there is no GPU."""
_CHUNK = 128
_THUMBNAIL_PX = 160
_HEARD_S = 3.0
_HEARD_HZ = 16_000


@dataclass(frozen=True)
class NearClip:
    """A clip of the cache beside what was given.

    Attributes:
        id: Of the clip.
        label: "" where it has none.
        similarity: Cosine of the embeddings.
        jpeg: Its frame, small.
        wav: The 3 s around it; None if the cache's sound was dropped.
    """

    id: str
    label: str
    similarity: float
    jpeg: bytes
    wav: bytes | None


@dataclass(frozen=True)
class Nearest:
    """What clips are compared with.

    Attributes:
        cache: Where the clips are.
        rows: `(n,)` of the clips compared, at most `MAX_CLIPS`, from all over the cache.
        embeddings: `(n, 2, D)` of their frames and sounds, unit length.
    """

    cache: Cache
    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]

    def like(self, embedded: NDArray[np.float32]) -> tuple[list[NearClip], list[NearClip]]:
        """Return the clips whose frames, and those whose sounds, are nearest to `(2, D)`."""
        found = []
        for part in (0, 1):
            similarity = self.embeddings[:, part] @ embedded[part]
            best = np.argsort(-similarity, kind="stable")[:NUM_SHOWN]
            found.append([self._neighbor(int(at), float(similarity[at])) for at in best])
        return found[0], found[1]

    def _neighbor(self, at: int, similarity: float) -> NearClip:
        clip = self.cache.clip(self.cache.manifest.line(int(self.rows[at]))["id"])
        return NearClip(clip.id, clip.label or "", similarity, _thumbnail(clip), _wav(clip))


def embed_cache(
    localizer: Localizer, cache: Cache, progress: Callable[[int, int], None]
) -> Nearest:
    """Embed clips from all over a cache.

    Args:
        localizer: The run.
        cache: The cache.
        progress: Called with (clips embedded, clips wanted).

    Raises:
        InputError: The run hears what the cache does not hold.
    """
    places = np.linspace(0, len(cache) - 1, min(len(cache), MAX_CLIPS)).round().astype(np.int64)
    rows = cache.rows[places]
    progress(0, len(rows))
    parts = []
    for start in range(0, len(rows), _CHUNK):
        parts.append(localizer.embeddings(cache, rows[start : start + _CHUNK]))
        progress(min(start + _CHUNK, len(rows)), len(rows))
    return Nearest(cache, rows, np.concatenate(parts))


def _thumbnail(clip: CachedClip) -> bytes:
    picture = Image.fromarray(clip.frame)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    return jpeg_bytes(np.asarray(picture))


def _wav(clip: CachedClip) -> bytes | None:
    """Return the 3 s around a clip's frame as a WAV file."""
    if clip.waveform is None or clip.frame_sample is None:
        return None
    rate_hz = clip.waveform_rate_hz
    wanted = round(_HEARD_S * rate_hz)
    start = min(clip.frame_sample - wanted // 2, len(clip.waveform) - wanted)
    sound = clip.waveform[max(0, start) :][:wanted].astype(np.float32)
    heard = resample(sound, rate_hz, _HEARD_HZ, round(len(sound) * _HEARD_HZ / rate_hz))
    return wav_bytes(np.clip(np.rint(heard), -32768, 32767).astype(np.int16), _HEARD_HZ)
