"""A run's encoder of sounds, as something that embeds every sound of a cache.

Sound promotion clusters features that were learnt without labels: those of a run. They are taken
before any projection, where `audio_init` takes the encoder too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...stages.spectrogram import FRONT_ENDS
from ..data.spectrograms import wide_spectrogram
from ..recipe import Recipe
from .checkpoint import require_checkpoint, weights_digest
from .record import RunRecord, read_record

_HEARD = ("spectrogram", "spectrogram_mean", "spectrogram_std", "audio_pool", "test_weights")


@dataclass(frozen=True)
class RunSounds:
    """What `stages.teachers.protocol.Teacher` asks for, of a run.

    Attributes:
        folder: The run's folder.
        record: Its record.
        checkpoint: The folder of its newest weights, those that are used.
        digest: Their sha256 (hex).
    """

    folder: Path
    record: RunRecord
    checkpoint: Path
    digest: str
    VERSION: int = 1
    READS: Literal["frame", "waveform"] = "waveform"
    FILES: tuple[Any, ...] = ()
    COLUMNS: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    PARAMS: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self, waveform: NDArray[np.int16], frame_sample: int) -> NDArray[np.float16]:
        """Return the centre window's log-spectrogram, `(257, columns)`, rounded as in batches."""
        front_end = FRONT_ENDS[self.record.recipe.spectrogram]
        wide = wide_spectrogram(waveform, frame_sample, front_end)
        window = wide[:, front_end.margin : front_end.margin + front_end.num_columns]
        return window.astype(np.float16)

    def build(
        self, weights: object, device: str
    ) -> Callable[[NDArray[Any]], dict[str, NDArray[Any]]]:
        """Return `(B, 257, columns)` -> `value` `(B, C)` float32.

        Raises:
            InputError: The checkpoint is gone.
            CacheCorruptError: It is damaged.
        """
        from .localizer import load_same

        run = load_same(self.folder, self.checkpoint, self.digest, device)
        return lambda spectrograms: {"value": run.sound_features(spectrograms)}


def sounds_of_run(folder: Path) -> RunSounds:
    """Open a run for its sounds; its weights are read when they are needed.

    Raises:
        InputError: There is no run, it has no checkpoint, or it hears cached features.
        CacheCorruptError: It is damaged.
    """
    record = read_record(folder)
    if teacher := record.recipe.sound_teacher:
        raise InputError(
            f"{folder} hears what {teacher} left in the cache and has learnt no sounds of its own; "
            f"compare them by {teacher}: --audio {teacher}"
        )
    checkpoint, _ = require_checkpoint(folder, record)
    return RunSounds(
        folder,
        record,
        checkpoint,
        weights_digest(checkpoint),
        COLUMNS={"value": ("<f4", (_num_features(record.recipe),))},
        PARAMS={name: getattr(record.recipe, name) for name in _HEARD},
    )


def _num_features(recipe: Recipe) -> int:
    """Return the channels of the last layer of a ResNet18 whose first has `width`."""
    return 8 * recipe.width
