"""What a recipe reads from the cache beside clips: hints, pseudo-labels, neighbours.

All is found and checked before the first step; what is missing is named with its command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...advice import advice
from ...cache.schema import CLUSTERS, HINTS, NEIGHBORS, Header, encoder_option, shard_path
from ...cache.shard import Shard
from ...cache.stale import stale_shards
from ...cache.state import headers, shard_numbers, stages
from ...cache.store import Cache, ColumnView
from ...errors import InputError
from ...weights import RANDOM
from ..nets.cached import AUDIO, IMAGE, CachedEncoder, clips_to_fit
from ..nets.model import AudioVisualModel, Needs
from ..recipe import OWN, Recipe
from .features import Cached, Cells
from .teacher_columns import MODALITIES, Wanted, filling, finite_item, require_teachers

_SHARE_OF_NEIGHBORS = 0.05
"""Above this share of all clips, neighbours are no longer alike (Senocak et al. take 0.7 %)."""

_HINTS = {
    "audio": "an audio hint is one vector of each sound",
    "visual": "a visual hint is a map of each frame (a vector is for `avpipe knn` alone)",
}
"""What a hint has to be."""


@dataclass(frozen=True)
class BatchColumn:
    """One column that goes into batches.

    Attributes:
        stage: Folder in the cache.
        name: Column.
        of_frames: Whether it goes with a clip's frame; else with its sound.
        shape: Of one element.
        cells: Where the cells of a map lie in its frame.
        whole: Whether it is of all frames or sounds of a batch, not of its first B alone.
        reduce: What is made of an element before it goes into a batch, `shape` then being of that.
    """

    stage: str
    name: str
    of_frames: bool
    shape: tuple[int, ...]
    cells: Cells = "corners"
    whole: bool = False
    reduce: Callable[[NDArray[Any]], NDArray[Any]] | None = None


@dataclass(frozen=True)
class Inputs:
    """All that a recipe reads beside clips.

    Attributes:
        columns: By the name that batches use: `audio_hint`, `visual_hint`, `label`.
        neighbors: Stage by modality, `image` and `audio`; empty if no view needs them.
        num_classes: Clusters of the pseudo-labels; 0 without.
        cached: What the features are that stand for encoders, by modality.
        weights: Digest of the weights behind each stage.
        notices: Lines the user should see.
    """

    columns: dict[str, BatchColumn] = field(default_factory=dict)
    neighbors: dict[str, str] = field(default_factory=dict)
    num_classes: int = 0
    cached: dict[str, Cached] = field(default_factory=dict)
    weights: dict[str, str | None] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def hint_cells(self) -> Cells:
        """Where the cells of visual hints lie; `corners` where there are none."""
        hint = self.columns.get("visual_hint")
        return hint.cells if hint else "corners"

    @property
    def stages(self) -> list[str]:
        """Every stage that is read."""
        return sorted(
            {*(column.stage for column in self.columns.values()), *self.neighbors.values()}
        )


def find_inputs(
    cache: Cache,
    rows: NDArray[np.int64],
    recipe: Recipe,
    needs: Needs,
    validated: NDArray[np.int64] | None = None,
) -> Inputs:
    """Find what a recipe reads beside clips.

    Args:
        cache: The cache.
        rows: Clips trained on.
        recipe: Which hints, clusters and neighbours.
        needs: What its objective needs.
        validated: Clips held back to validate on, which need cached features too.

    Raises:
        InputError: Something is missing or made for another set of clips.
        CacheCorruptError: Features are of different networks.
    """
    hints = {
        name: Wanted(modality, getattr(recipe, f"{modality}_teacher"))
        for modality in MODALITIES
        if (name := f"{modality}_hint") in recipe.hint_names
    }
    encoders = {
        modality: Wanted(sense, teacher)
        for modality, sense, teacher in (
            ("image", MODALITIES[0], recipe.image_teacher),
            ("audio", MODALITIES[1], recipe.sound_teacher),
        )
        if teacher and (needs.frames or modality == "audio")
    }
    everyone = list(dict.fromkeys([*encoders.values(), *hints.values()]))
    require_teachers(cache, rows, everyone)
    if validated is not None:
        require_teachers(cache, np.union1d(rows, validated), list(encoders.values()))
    columns = {name: _teacher_column(cache, one) for name, one in hints.items()}
    cached = {modality: _cached(cache, one) for modality, one in encoders.items()}
    for modality, found in cached.items():
        wanted = getattr(recipe, f"{modality}_pca")
        if wanted > found.shape[0]:
            raise InputError(
                f"{modality}_pca = {wanted}: {found.teacher} has {found.shape[0]} numbers a "
                f"{'cell' if modality == 'image' else 'sound'}; --set {modality}_pca=0 takes all"
            )
    columns |= feature_columns(cached)
    num_classes, neighbors = 0, dict[str, str]()
    notices: list[str] = []
    if needs.classes_of:
        name = f"{CLUSTERS}/{recipe.clusters}"
        stage = _of_same_clips(cache, name, rows, _command(cache, name))
        num_classes = _any_header(cache, stage).params["k"]
        columns["label"] = BatchColumn(stage, "label", of_frames=False, shape=())
    if "neighbour" in recipe.view_names and recipe.image_neighbors != OWN:
        neighbors["image"] = f"{NEIGHBORS}/image-{recipe.image_neighbors}"
    hears = "neighbour" in recipe.view_names or recipe.partners in ("nearest", "both")
    if hears and recipe.audio_neighbors != OWN:
        neighbors["audio"] = f"{NEIGHBORS}/audio-{recipe.audio_neighbors}"
    command = _search(cache, neighbors)
    for modality, name in neighbors.items():
        neighbors[modality] = stage = _of_same_clips(cache, name, rows, command)
        if "neighbour" in recipe.view_names:
            k = _any_header(cache, stage).params["k"]
            notices += _doubtful(stage, k, recipe.num_neighbors, len(rows))
    inputs = Inputs(columns, neighbors, num_classes, cached)
    weights = {stage: _any_header(cache, stage).weights for stage in inputs.stages}
    notices += [
        f"{stage} was made with random weights: it knows nothing"
        for stage, digest in weights.items()
        if digest and digest.startswith(RANDOM)
    ]
    notices += [
        f"{stage} is stale, what it was made from has changed since; run {_command(cache, stage)}"
        for stage in inputs.stages
        if stale_shards(cache.path, stage)
    ]
    return replace(inputs, notices=tuple(notices), weights=weights)


def _doubtful(stage: str, k: int, wanted: int, num_clips: int) -> Iterator[str]:
    """Say if there are fewer neighbours than wanted, or so many that they cannot be alike."""
    if k < wanted:
        yield f"{stage} has {k} neighbours, the recipe takes {wanted}"
    if min(k, wanted) > _SHARE_OF_NEIGHBORS * num_clips:
        yield (
            f"{stage}: {min(k, wanted)} of {num_clips} clips are more than 5 %, many will not be "
            "alike; lower num_neighbors"
        )


def cached_features(
    cache: Cache, rows: NDArray[np.int64], learnt: Mapping[str, Cached]
) -> dict[str, Cached]:
    """Find the features that stand for the encoders of a run, by modality, `image` or `audio`.

    Args:
        cache: The cache.
        rows: Clips whose features are wanted.
        learnt: What the run learnt from.

    Raises:
        InputError: The cache has them not of all these clips.
        CacheCorruptError: They are of different networks.
    """
    wanted = {
        modality: Wanted(MODALITIES[modality == "audio"], mine.teacher, mine.weights)
        for modality, mine in learnt.items()
    }
    require_teachers(cache, rows, list(wanted.values()))
    return {modality: _cached(cache, one) for modality, one in wanted.items()}


def _cached(cache: Cache, wanted: Wanted) -> Cached:
    column = _teacher_column(cache, wanted)
    header = _any_header(cache, column.stage)
    image_px = header.params.get("image_size", 224)
    return Cached(
        wanted.teacher, column.shape, header.stage_version, header.weights, column.cells, image_px
    )


def feature_columns(cached: Mapping[str, Cached]) -> dict[str, BatchColumn]:
    """Return the columns that features are read from, by the names that batches use."""
    return {
        name: BatchColumn(
            f"{HINTS}/{found.teacher}", "value", of_frames=name == IMAGE, shape=found.shape,
            cells=found.cells, whole=True,
        )
        for name, modality in ((IMAGE, "image"), (AUDIO, "audio"))
        if (found := cached.get(modality))
    }  # fmt: skip


def reduced(columns: Mapping[str, BatchColumn], model: AudioVisualModel) -> dict[str, BatchColumn]:
    """Return columns whose features are brought to what a network's heads take."""
    found = dict(columns)
    for name, encoder in ((IMAGE, model.image_encoder), (AUDIO, model.audio_encoder)):
        if name in found and isinstance(encoder, CachedEncoder):
            found[name] = replace(found[name], shape=encoder.shape, reduce=encoder.reduce)
    return found


def fit_components(
    model: AudioVisualModel,
    cache: Cache,
    rows: NDArray[np.int64],
    columns: Mapping[str, BatchColumn],
    *,
    whiten: bool,
) -> None:
    """Fit the principal components of a network's cached features to the clips trained on."""
    for name, encoder in ((IMAGE, model.image_encoder), (AUDIO, model.audio_encoder)):
        if name in columns and isinstance(encoder, CachedEncoder) and encoder.rotates:
            chosen = rows[clips_to_fit(len(rows))]
            column = columns[name]
            places = (cache.locate(column.stage, row) for row in chosen.tolist())
            values = (finite_item(cache, shard, column.name, at) for shard, at in places)
            encoder.fit(values, len(chosen), whiten)


def _teacher_column(cache: Cache, wanted: Wanted) -> BatchColumn:
    """Find what a teacher left of one modality: a vector of a sound, a map of a frame."""
    stage, modality = wanted.stage, wanted.modality
    header = _any_header(cache, stage)
    shape = header.columns["value"].shape[1:]
    if len(shape) != {"audio": 1, "visual": 3}[modality]:
        raise InputError(
            f"{stage} holds {' x '.join(map(str, shape))} numbers a clip; {_HINTS[modality]}"
        )
    cells = header.params.get("cells", "corners")
    return BatchColumn(stage, "value", of_frames=modality == "visual", shape=shape, cells=cells)


def _of_same_clips(cache: Cache, name: str, rows: NDArray[np.int64], command: str) -> str:
    """Return the stage of that name (and `@`, a digest of ids) that is of exactly these clips."""
    found = [s for s in stages(cache.path) if s == name or s.startswith(f"{name}@")]
    if not found:
        raise InputError(f"{cache.path} has no {name}; run {command} for the clips trained on")
    for stage in found:
        if np.array_equal(_rows(cache, stage), rows):
            return stage
    raise InputError(
        f"{found[0]} is of other clips than are trained on; run {command} with the same --ids "
        "and --hold-out; what --val-ids names is to be held out there too"
    )


def _command(cache: Cache, stage: str) -> str:
    """Return what makes a stage, in backquotes."""
    kind, _, name = stage.partition("@")[0].partition("/")
    if kind == CLUSTERS:
        encoder, _, k = name.rpartition("-k")
        return advice(f"cluster --encoder {encoder_option(encoder)} --k {k}", cache.path)
    if kind == NEIGHBORS:
        return _search(cache, {name.partition("-")[0]: stage})
    is_sound = len(_any_header(cache, stage).columns["value"].shape) == 2
    return filling(cache, [Wanted(MODALITIES[is_sound], name)])


def _search(cache: Cache, neighbors: Mapping[str, str]) -> str:
    """Return the command that finds neighbours and none beside, in backquotes."""
    chosen = {
        modality: stage.partition("@")[0].partition(f"/{modality}-")[2]
        for modality, stage in neighbors.items()
    }
    words = (
        f"--{modality} {encoder_option(chosen[modality]) if modality in chosen else 'none'}"
        for modality in ("image", "audio")
    )
    return advice(f"knn {' '.join(words)}", cache.path)


def _rows(cache: Cache, stage: str) -> NDArray[np.int64]:
    """Return the rows that a stage has, ascending."""
    numbers = sorted(shard_numbers(cache.path, stage))
    parts = [Shard(shard_path(cache.path, stage, n), verify=False).rows for n in numbers]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _any_header(cache: Cache, stage: str) -> Header:
    """Return the header of a shard that holds clips."""
    return next(header for header in headers(cache.path, stage) if header.done)


def neighbor_rows(cache: Cache, stage: str) -> ColumnView:
    """Return the neighbours of each clip, the nearest first, as cache rows."""
    return ColumnView(cache, stage, "rows")
