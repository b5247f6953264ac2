"""A trained run as a localizer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ...cache.store import Cache
from ...errors import CacheCorruptError, UsageError
from ...machine import AUTO
from ...weights import PRETRAINED
from ..choices import DEFAULT_GEOMETRY, MAPS_AT_A_TIME, Branch
from ..data.augment import evaluation_views, hear
from ..data.batches import Batch, Pick, Stream
from ..data.mixed import mixed_sound
from ..data.sources import reading_threads
from ..device import choose_device
from ..negatives.made import Made
from ..nets.geometry import Geometry, upsample
from ..nets.model import AudioVisualModel, build_model
from ..objectives import Objective, cosine_map, head_number, load_objective, require_sight
from .checkpoint import gone, load_weights, require_checkpoint, require_own, weights_digest
from .exported import exported_weights, is_exported, require_described
from .hub import local_run
from .intake import Intake
from .record import RunRecord, one_run, read_record

BRANCHES = get_args(Branch)
"""The networks that a checkpoint may hold."""


class Localizer:
    """A trained network that says where a sound comes from.

    Attributes:
        recipe: The run's recipe.
        record: The run's record.
        centres_px: `(h,)` centres of the map's cells in the `image_size` square.
    """

    def __init__(
        self,
        record: RunRecord,
        model: AudioVisualModel,
        objective: Objective,
        device: torch.device,
        weights: Sequence[str] = (PRETRAINED,),
        head: str | None = None,
    ) -> None:
        """Keep the network; see `load_run`."""
        self.record = record
        self.recipe = record.recipe
        self.device = device
        self.centres_px = model.image_encoder.cell_centres(record.recipe.image_size)
        self._model = model.to(device).eval()
        self._objective = objective
        self._head = None if head is None else head_number(objective, record.recipe.objective, head)
        self._intake = Intake(record, self._model, device, weights)

    def localize(
        self,
        frame: NDArray[np.uint8],
        waveform: NDArray[Any],
        rate_hz: int,
        *,
        size: tuple[int, int] = (224, 224),
        geometry: Geometry = DEFAULT_GEOMETRY,
    ) -> NDArray[np.float32]:
        """Return where in the frame the sound comes from.

        Args:
            frame: `(H, W, 3)` uint8 RGB.
            waveform: `(L,)` mono, float in [-1, 1] or int16; the centre 3 s are heard, shorter
                sound is repeated.
            rate_hz: Its rate.
            size: `(H, W)` of the result, the whole frame.
            geometry: Where the map's cells lie; see `geometry.upsample`.

        Returns:
            `size` float32, cosines in [-1, 1].
        """
        with torch.inference_mode():
            visual, audio = self._embed_frame(frame), self._embed_audio(waveform, rate_hz)
            similarity = self._map_of(visual, audio).cpu().numpy()
        localization_map: NDArray[np.float32] = self.upsample(similarity, size, geometry)[0]
        return localization_map

    def _map_of(self, visual: tuple[Tensor, ...], audio: tuple[Tensor, ...]) -> Tensor:
        """Return each frame's map with its sound, `(B, h, w)`: the objective's, or of one head."""
        if self._head is None:
            return self._objective.similarity_map(visual, audio)
        return cosine_map(visual[self._head], audio[self._head])

    @property
    def window_s(self) -> float:
        """Seconds of sound around a frame that are heard."""
        return self._intake.window_s

    def upsample(
        self,
        maps: NDArray[np.float32],
        size: tuple[int, int] = (224, 224),
        geometry: Geometry = DEFAULT_GEOMETRY,
    ) -> NDArray[np.float32]:
        """Bring maps `(n, h, w)` of this network to image size `(n, H, W)`."""
        return upsample(maps, size, geometry, self.centres_px, self.recipe.image_size)

    @torch.inference_mode()
    def maps(
        self,
        cache: Cache,
        rows: Sequence[int] | NDArray[np.int64],
        audio_rows: Sequence[int] | NDArray[np.int64] | None = None,
        batch_size: int = MAPS_AT_A_TIME,
        added_rows: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Return the similarity maps of clips of a cache, the whole frame with the centre window.

        Args:
            cache: The cache.
            rows: `(n,)` whose frames.
            audio_rows: `(n,)` whose sounds; the frames' own if None.
            batch_size: Clips at a time.
            added_rows: `(n,)` whose sounds are added to those, -1 for none.

        Each frame and each sound is embedded once, however many pairs it is in.

        Returns:
            `(n, h, w)` float32 cosines; `upsample` brings them to image size.

        Raises:
            InputError: If the cache holds another kind of spectrogram than the run hears, and its
                sound was dropped; or the run only hears.
        """
        require_sight(self.recipe.objective)
        images = np.asarray(rows, np.int64)
        sounds = images if audio_rows is None else np.asarray(audio_rows, np.int64)
        added = np.full(len(sounds), -1) if added_rows is None else np.asarray(added_rows, np.int64)
        both = np.stack([added, sounds], 1)  # sounds of one clip sort before mixtures
        heard, sound_of = np.unique(both, axis=0, return_inverse=True)
        sound_of = sound_of.ravel()
        seen, frame_of = np.unique(images, return_inverse=True)
        parts = list(self._embedded_sounds(cache, heard, batch_size))
        audio = [torch.cat(heads) for heads in zip(*parts, strict=True)]
        found: list[NDArray[np.float32]] = []
        order, done = np.argsort(frame_of, kind="stable"), 0
        for batch in self._read(cache, seen, batch_size, sounds=False):
            visual = self._model.embed_frames(
                evaluation_views(batch, self.recipe, self.device).frames
            )
            low, high = np.searchsorted(frame_of[order], (done, done + len(batch.rows)))
            for start in range(low, high, batch_size):
                pairs = order[start : min(start + batch_size, high)]
                cells = tuple(head[frame_of[pairs] - done] for head in visual)
                own = tuple(head[sound_of[pairs]] for head in audio)
                found.append(self._map_of(cells, own).cpu().numpy())
            done += len(batch.rows)
        result = np.empty((len(order), *found[0].shape[1:]), np.float32)
        result[order] = np.concatenate(found)
        return result

    def _embedded_sounds(
        self, cache: Cache, heard: NDArray[np.int64], batch_size: int
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield the features of sounds, of each head `(b, D)`.

        Args:
            cache: The cache.
            heard: `(n, 2)` the row that is added, -1 for none, and the row itself; those first.
            batch_size: Sounds at a time.
        """
        alone = int((heard[:, 0] < 0).sum())
        for batch in self._read(cache, heard[:alone, 1], batch_size, frames=False) if alone else ():
            views = evaluation_views(batch, self.recipe, self.device)
            yield self._model.embed_spectrograms(views.spectrograms)
        for start in range(alone, len(heard), batch_size):
            rows = heard[start : start + batch_size].tolist()
            mixtures = (mixed_sound(cache, first, second) for second, first in rows)
            parts = [self._intake.loud_sound(*mixture) for mixture in mixtures]
            yield self._model.embed_spectrograms(torch.cat(parts))

    @torch.inference_mode()
    def maps_with(
        self,
        cache: Cache,
        rows: Sequence[int] | NDArray[np.int64],
        names: Sequence[str],
        made: Made,
        batch_size: int = MAPS_AT_A_TIME,
    ) -> NDArray[np.float32]:
        """Return the similarity maps of clips' frames with made sounds, heard as any other is.

        Args:
            cache: The cache.
            rows: `(n,)` whose frames.
            names: `(n,)` what each sound is drawn for.
            made: The kind of sound.
            batch_size: Clips at a time.

        Returns:
            `(n, h, w)` float32 cosines.

        Raises:
            InputError: As `maps` does.
            MissingDependencyError: The teacher whose features stand for sounds is missing.
        """
        require_sight(self.recipe.objective)
        found, done = [], 0
        alike = self._made(names[:1], made) if made.same_for_all else None
        for batch in self._read(cache, np.asarray(rows, np.int64), batch_size, sounds=False):
            visual = self._model.embed_frames(
                evaluation_views(batch, self.recipe, self.device).frames
            )
            num = len(batch.rows)
            sounds = alike or self._made(names[done : done + num], made)
            own = tuple(head.expand(num, -1) for head in sounds)
            found.append(self._map_of(visual, own).cpu().numpy())
            done += num
        return np.concatenate(found)

    def _made(self, names: Sequence[str], made: Made) -> tuple[Tensor, ...]:
        """Embed made sounds, of each head `(n, D)`."""
        return self._model.embed_spectrograms(self._intake.made_sounds(names, made))

    @torch.inference_mode()
    def embeddings(
        self,
        cache: Cache,
        rows: Sequence[int] | NDArray[np.int64],
        batch_size: int = MAPS_AT_A_TIME,
    ) -> NDArray[np.float32]:
        """Embed clips of a cache as wholes, for retrieval.

        Frames and sounds have projections of their own where the recipe's objective trains some
        (alignment); else a frame is the mean of its map's cells.

        Args:
            cache: The cache.
            rows: `(n,)` their rows.
            batch_size: Clips at a time.

        Returns:
            `(n, 2, D)` of frames and of sounds, unit length.

        Raises:
            InputError: As `maps` does.
        """
        clips = np.asarray(rows, np.int64)
        seen, heard = (
            self._read(cache, clips, batch_size, frames=frames) for frames in (True, False)
        )
        parts: list[Tensor] = []
        for one, other in zip(seen, heard, strict=True):
            frames = evaluation_views(one, self.recipe, self.device).frames
            sounds = evaluation_views(other, self.recipe, self.device).spectrograms
            parts.append(self._wholes(frames, sounds))
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def region_features(
        self,
        cache: Cache,
        rows: Sequence[int] | NDArray[np.int64],
        batch_size: int = MAPS_AT_A_TIME,
    ) -> NDArray[np.float32]:
        """Return what is seen where the sound is: features of the best cells of each clip's map.

        They are those before any projection, averaged over the cells where the clip's own sound
        matches best, `pooling_share` of all.

        Args:
            cache: The cache.
            rows: `(n,)` clips.
            batch_size: Clips at a time.

        Returns:
            `(n, C)` float32.

        Raises:
            InputError: As `maps` does.
        """
        require_sight(self.recipe.objective)
        parts: list[Tensor] = []
        for batch in self._read(cache, np.asarray(rows, np.int64), batch_size):
            views = evaluation_views(batch, self.recipe, self.device)
            embedded = self._model(views.frames, views.spectrograms)
            maps = self._map_of(embedded.visual, embedded.audio)
            features = embedded.features.visual.float()
            parts.append(mean_of_best(features, maps, self.recipe.pooling_share).cpu())
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def embed(
        self, frame: NDArray[np.uint8], waveform: NDArray[Any], rate_hz: int
    ) -> NDArray[np.float32]:
        """Embed a frame and a sound, given as to `localize`, as `embeddings` does: `(2, D)`."""
        embedded: NDArray[np.float32] = self._wholes(
            self._intake.frame(frame), self._intake.sound(waveform, rate_hz)
        )[0].numpy()
        return embedded

    @torch.inference_mode()
    def embed_frame(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a frame `(H, W, 3)` uint8 as `(D, h, w)`; see `embed_audio`."""
        return _joined(self._embed_frame(frame))

    @torch.inference_mode()
    def embed_audio(self, waveform: NDArray[Any], rate_hz: int) -> NDArray[np.float32]:
        """Embed a sound as `(D,)`; times `embed_frame` it is the mean of the heads' cosines."""
        return _joined(self._embed_audio(waveform, rate_hz))

    @torch.inference_mode()
    def sound_features(self, spectrograms: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the features of sounds before any projection.

        Args:
            spectrograms: `(B, 257, T)` log-spectrograms of the windows that are heard.

        Returns:
            `(B, C)` float32, 0 or more.
        """
        windows = torch.from_numpy(spectrograms).to(self.device)
        heard = hear(windows, np.zeros(len(windows), np.int64), self.recipe)
        features: NDArray[np.float32] = self._model.audio_features(heard).float().cpu().numpy()
        return features

    def _read(
        self,
        cache: Cache,
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        frames: bool = True,
        sounds: bool = True,
    ) -> Iterator[Batch]:
        """Read whole clips, or only their frames or their sounds."""
        reader, none = self._intake.reader(cache, rows), np.zeros(0, np.int64)
        parts = np.split(np.arange(len(rows)), range(batch_size, len(rows), batch_size))
        picks = (Pick(part, part if frames else none, part if sounds else none) for part in parts)
        return Stream(reader, reading_threads(None)).batches(picks)

    def load_teachers(self) -> None:
        """Load the teachers of a run on cached features, before work that they would end.

        Raises:
            MissingDependencyError: Weights are missing, or others than the run learnt from; what
                cannot be fetched is told at once.
        """
        self._intake.load_teachers()

    def _wholes(self, frames: Tensor, sounds: Tensor) -> Tensor:
        """Embed frames and sounds, `(n, ...)` each, as wholes: `(n, 2, D)` of unit length."""
        require_sight(self.recipe.objective)
        embedded = self._model(frames, sounds)
        both = embedded.pooled or (
            torch.cat([head.mean((2, 3)) for head in embedded.visual], 1),
            torch.cat(embedded.audio, 1),
        )
        return F.normalize(torch.stack(both, 1), dim=2).cpu()

    def _embed_frame(self, frame: NDArray[np.uint8]) -> tuple[Tensor, ...]:
        require_sight(self.recipe.objective)
        return self._model.embed_frames(self._intake.frame(frame))

    def _embed_audio(self, waveform: NDArray[Any], rate_hz: int) -> tuple[Tensor, ...]:
        return self._model.embed_spectrograms(self._intake.sound(waveform, rate_hz))


def mean_of_best(features: Tensor, maps: Tensor, share: float) -> Tensor:
    """Average features over the cells where a map is highest.

    Args:
        features: `(B, C, h, w)`.
        maps: `(B, h, w)`.
        share: Of the cells that count, at least one.

    Returns:
        `(B, C)`.
    """
    flat = maps.flatten(1)
    best = flat.topk(max(1, round(share * flat.shape[1])), 1).indices
    chosen = features.flatten(2).gather(2, best[:, None].expand(-1, features.shape[1], -1))
    return chosen.mean(2)


def _joined(heads: tuple[Tensor, ...]) -> NDArray[np.float32]:
    joined: NDArray[np.float32] = (torch.cat(heads, 1)[0] / math.sqrt(len(heads))).cpu().numpy()
    return joined


def load_run(
    run_dir: str | os.PathLike[str],
    device: str = AUTO,
    branch: str | None = None,
    weights: Sequence[str] = (PRETRAINED,),
    head: str | None = None,
    checkpoint: Path | None = None,
) -> Localizer:
    """Open a run for localizing.

    Args:
        run_dir: The run's folder, or one that holds it as its only seed, or what `avpipe export`
            wrote; `hf://USER/RUN` where that lies on the Hugging Face Hub.
        device: `auto`, `cpu`, `cuda`, ...
        branch: Which of its weights: `online`, `momentum` or `ema`; None for those that its recipe
            tests (`test_weights`).
        weights: Where the teachers of a run on cached features come from, once a frame or a sound
            is given that is in no cache; as `weights.resolve` takes it.
        head: Which of several projections makes the maps, of SLAVC `localization` or
            `correspondence`; None for their mean.
        checkpoint: Which of its checkpoints, a folder; None for the newest.

    Raises:
        InputError: If there is no run, or it has no checkpoint yet, or that one is gone.
        CacheCorruptError: If its record or its checkpoint is damaged, or one is another run's.
        UsageError: If there is no such device, or the run has no such weights or head.
        MissingDependencyError: If the Hub cannot be reached.
    """
    folder = one_run(local_run(run_dir))
    record = read_record(folder)
    objective = load_objective(record.recipe.objective)
    model = build_model(record.recipe, objective.NEEDS, record.seed, record.features)
    if is_exported(folder):
        require_described(folder, record)
        weights_of_run = exported_weights(folder, branch)
    else:
        checkpoint = checkpoint or require_checkpoint(folder)[0]
        require_own(checkpoint, record)
        chosen = branch or record.recipe.test_weights
        weights_of_run = branch_weights(folder, checkpoint, chosen)
    load_into(model, weights_of_run, folder)
    return Localizer(record, model, objective, choose_device(device), weights, head)


def load_same(run_dir: Path, checkpoint: Path, digest: str, device: str) -> Localizer:
    """Open the checkpoint that a digest was taken of, though the run has trained on meanwhile.

    Args:
        run_dir: The run's folder.
        checkpoint: The checkpoint's.
        digest: Of its weights, as `weights_digest` gave it.
        device: As for `load_run`.

    Raises:
        InputError: It is gone, or has other weights now.
        CacheCorruptError: It is damaged.
    """
    run = load_run(run_dir, device, checkpoint=checkpoint)
    if weights_digest(checkpoint) != digest:
        raise gone(checkpoint)
    return run


def load_into(network: nn.Module, weights: Mapping[str, Tensor], run_dir: Path) -> None:
    """Give a network that was built by a run's record the run's weights.

    Raises:
        CacheCorruptError: If they are those of another network: the record is damaged.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError:  # its text has a line for each name and shape
        raise CacheCorruptError(
            f"{run_dir / 'run.json'} is damaged: its recipe is not that of the run's weights; put "
            "back a copy of it, or train again into a new folder"
        ) from None


def branch_weights(run_dir: Path, checkpoint: Path, branch: str) -> dict[str, Tensor]:
    """Read one network out of a checkpoint, which may hold the momentum and the averaged ones too.

    Raises:
        UsageError: If the run has no such network.
    """
    weights = load_weights(checkpoint)
    chosen = {
        name.partition(".")[2]: w for name, w in weights.items() if name.startswith(f"{branch}.")
    }
    if branch not in BRANCHES or not chosen:
        have = {name.partition(".")[0] for name in weights}.intersection(BRANCHES)
        raise UsageError(f"{run_dir} has no {branch!r} weights; it has {', '.join(sorted(have))}")
    return chosen
