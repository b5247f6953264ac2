"""What a run's network takes of new pictures and sounds, and of a cache's clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...cache.schema import AUDIO_RATE_HZ, FULL_SCALE
from ...cache.store import Cache
from ...errors import InputError
from ...stages.spectrogram import FRONT_ENDS, log_spectrogram, resample
from ...stages.teachers.live import LiveTeacher, fetch_weights, weights_option
from ..data.augment import hear, normalise_frames
from ..data.bank import made_inputs
from ..data.clips import AT_TEST, ClipReader, whole_clips
from ..data.columns import cached_features, feature_columns, reduced
from ..data.features import Cached
from ..data.teacher_columns import Wanted, filling, short
from ..negatives.made import Made
from ..nets.cached import CachedEncoder
from ..nets.model import AudioVisualModel
from .record import RunRecord


def fetch_teachers(record: RunRecord, specs: Sequence[str]) -> None:
    """Look for the weights of a run's teachers, and fetch what is missing; nothing is loaded.

    Args:
        record: Of the run; one that learnt from pictures and sounds has no teachers.
        specs: Where weights are (`--weights`).

    Raises:
        MissingDependencyError: Weights are missing, all of them told at once.
        UsageError: A spec names another network than the run's.
    """
    mine = record.features.values()
    fetch_weights([(one.teacher, one.weights) for one in mine], specs)


class Intake:
    """Brings frames and sounds to the form in which a run learnt them.

    A run on cached features needs the teachers that made them; they are loaded when first needed.
    """

    def __init__(
        self,
        record: RunRecord,
        model: AudioVisualModel,
        device: torch.device,
        specs: Sequence[str],
    ) -> None:
        """Keep what the run learnt from, and where its teachers' weights are (`--weights`)."""
        self._record, self._model, self._device, self._specs = record, model, device, specs
        self._teachers: dict[str, LiveTeacher] = {}

    @property
    def window_s(self) -> float:
        """Seconds of sound around a frame that are heard."""
        if isinstance(self._model.audio_encoder, CachedEncoder):
            return self.teacher("audio").window_s
        return FRONT_ENDS[self._record.recipe.spectrogram].window_s

    def reader(self, cache: Cache, rows: NDArray[np.int64]) -> ClipReader:
        """Open whole clips, or their cached features.

        Raises:
            InputError: The cache lacks features, or has those of another network.
        """
        found = cached_features(cache, rows, self._record.features)
        for modality, mine in self._record.features.items():
            if found[modality] != mine:
                raise InputError(f"{cache.path} {_otherwise(cache, found[modality], mine)}")
        columns = feature_columns(self._record.features)
        return whole_clips(cache, rows, self._record.recipe, reduced(columns, self._model))

    def load_teachers(self) -> None:
        """Load the teachers of a run on cached features, before work that they would end.

        Raises:
            MissingDependencyError: Weights are missing, or others than the run learnt from; what
                cannot be fetched is told at once.
        """
        fetch_teachers(self._record, self._specs)
        for modality in self._record.features:
            self.teacher(modality)

    def teacher(self, modality: str) -> LiveTeacher:
        """Load the teacher whose features stand for an encoder, once."""
        if modality not in self._teachers:
            mine = self._record.features[modality]
            self._teachers[modality] = LiveTeacher(
                mine.teacher, mine.stage_version, mine.weights, self._specs, str(self._device)
            )
        return self._teachers[modality]

    def frame(self, frame: NDArray[np.uint8]) -> Tensor:
        """Return what the network takes of a frame `(H, W, 3)`, as a batch of one."""
        encoder = self._model.image_encoder
        if isinstance(encoder, CachedEncoder):
            features = encoder.reduce(self.teacher("image").of_frame(frame))
            return torch.from_numpy(features)[None].to(self._device).float()
        size = self._record.recipe.image_size
        resize = AT_TEST[self._record.recipe.image_test]
        seen = np.array(resize(Image.fromarray(frame), (size, size)))
        pixels = torch.from_numpy(seen).to(self._device).permute(2, 0, 1)[None].float()
        return normalise_frames(pixels)

    def sound(self, waveform: NDArray[Any], rate_hz: int) -> Tensor:
        """Return what the network takes of a sound `(L,)`, as a batch of one."""
        encoder = self._model.audio_encoder
        if isinstance(encoder, CachedEncoder):
            features = encoder.reduce(self.teacher("audio").of_sound(waveform, rate_hz))
            return torch.from_numpy(features)[None].to(self._device).float()
        window = centre_window(waveform, rate_hz, self._record.recipe.spectrogram)
        spectrogram = log_spectrogram(window, self._record.recipe.spectrogram)
        heard = torch.from_numpy(spectrogram).to(self._device)[None]
        return hear(heard, np.zeros(1, np.int64), self._record.recipe)

    def loud_sound(self, waveform: NDArray[np.float32], at: int) -> Tensor:
        """Return the same of a sound at 32 kHz that may exceed full scale, around a sample of it.

        As of a cache's clips, the window is moved into the sound where it would reach over.
        """
        encoder = self._model.audio_encoder
        if isinstance(encoder, CachedEncoder):
            features = encoder.reduce(self.teacher("audio").of_loud_sound(waveform, at))
            return torch.from_numpy(features)[None].to(self._device).float()
        length = round(self.window_s * AUDIO_RATE_HZ)
        start = max(0, min(at - length // 2, len(waveform) - length))
        return self.sound(waveform[start : start + length], AUDIO_RATE_HZ)

    def made_sounds(self, names: Sequence[str], made: Made) -> Tensor:
        """Return what the network takes of silence or noise, drawn for each name."""
        heard = made_inputs(
            self._record.recipe, self._model, lambda: self.teacher("audio"), names, made
        )
        return heard.to(self._device)


def _otherwise(cache: Cache, found: Cached, mine: Cached) -> str:
    """Say how a cache's features are others than those that a run learnt from, and what helps."""
    wanted = Wanted("audio" if len(mine.shape) == 1 else "visual", mine.teacher, mine.weights)
    if found.weights == mine.weights:
        return (
            f"has features of {mine.teacher} of version {found.stage_version}, this run learnt "
            f"from version {mine.stage_version}: train again on these, or name a cache that the "
            "run's avpipe made"
        )
    option = f" --overwrite --weights {weights_option(mine.teacher, mine.weights)}"
    return (
        f"has features of {mine.teacher} that are others than this run learnt from (weights "
        f"{short(found.weights)}, the run's {short(mine.weights)}): name a cache with the run's, "
        f"or make these again: {filling(cache, [wanted], option)}"
    )


def centre_window(waveform: NDArray[Any], rate_hz: int, kind: str) -> NDArray[np.float32]:
    """Cut the window that a front-end hears out of the middle of a sound.

    Args:
        waveform: `(L,)` mono, float in [-1, 1] or int16 of full scale 32767, as the cache holds it.
        rate_hz: Its rate.
        kind: A name of `FRONT_ENDS`.

    Returns:
        `(window_samples,)` float32 at the front-end's rate; a shorter sound is repeated.

    Raises:
        ValueError: If there is no sound, or more than one channel.
    """
    front_end = FRONT_ENDS[kind]
    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(f"localizing needs mono sound (L,), got {waveform.shape}")
    sound = waveform.astype(np.float32)
    if waveform.dtype == np.int16:
        sound /= FULL_SCALE
    length = max(1, round(len(waveform) * front_end.rate_hz / rate_hz))
    sound = resample(sound, rate_hz, front_end.rate_hz, length)
    if length < front_end.window_samples:
        return np.resize(sound, front_end.window_samples)
    start = (length - front_end.window_samples) // 2
    return sound[start : start + front_end.window_samples]
