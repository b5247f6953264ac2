"""What a recipe reads from the cache beside clips: hints, pseudo-labels, neighbours.

All is found and checked before the first step; what is missing is named with its command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..cache.advice import advice
from ..cache.schema import CLUSTERS, HINTS, NEIGHBORS, Header, encoder_option, shard_path
from ..cache.shard import Shard
from ..cache.stale import stale_shards
from ..cache.state import headers, shard_numbers, stages
from ..cache.store import Cache, ColumnView
from ..errors import InputError
from ..weights import RANDOM
from .model import Needs
from .recipe import Recipe

_SHARE_OF_NEIGHBORS = 0.05
"""Above this share of all clips, neighbours are no longer alike (Senocak et al. take 0.7 %)."""


@dataclass(frozen=True)
class Column:
    """One column that goes into batches.

    Attributes:
        stage: Folder in the cache.
        name: Column.
        of_frames: Whether it goes with a clip's frame; else with its sound.
        shape: Of one element.
    """

    stage: str
    name: str
    of_frames: bool
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Inputs:
    """All that a recipe reads beside clips.

    Attributes:
        columns: By the name that batches use: `audio_hint`, `visual_hint`, `label`.
        neighbors: Stage by modality, `image` and `audio`; empty if no view needs them.
        num_classes: Clusters of the pseudo-labels; 0 without.
        weights: Digest of the weights behind each stage.
        notices: Lines the user should see.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    neighbors: dict[str, str] = field(default_factory=dict)
    num_classes: int = 0
    weights: dict[str, str | None] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def stages(self) -> list[str]:
        """Every stage that is read."""
        return sorted(
            {*(column.stage for column in self.columns.values()), *self.neighbors.values()}
        )


def find_inputs(cache: Cache, rows: NDArray[np.int64], recipe: Recipe, needs: Needs) -> Inputs:
    """Find what a recipe reads beside clips.

    Args:
        cache: The cache.
        rows: Clips trained on.
        recipe: Which hints, clusters and neighbours.
        needs: What its objective needs.

    Raises:
        InputError: Something is missing or made for another set of clips.
    """
    columns = {name: _hint(cache, rows, recipe, name) for name in recipe.hint_names}
    num_classes, neighbors = 0, dict[str, str]()
    notices: list[str] = []
    if needs.classes_of:
        stage = _of_same_clips(cache, f"{CLUSTERS}/{recipe.clusters}", rows)
        num_classes = _any_header(cache, stage).params["k"]
        columns["label"] = Column(stage, "label", of_frames=False, shape=())
    if "neighbour" in recipe.view_names:
        neighbors["image"] = f"{NEIGHBORS}/image-{recipe.image_neighbors}"
    if "neighbour" in recipe.view_names or recipe.partners in ("nearest", "both"):
        neighbors["audio"] = f"{NEIGHBORS}/audio-{recipe.audio_neighbors}"
    for modality, name in neighbors.items():
        neighbors[modality] = stage = _of_same_clips(cache, name, rows)
        if "neighbour" in recipe.view_names:
            k = _any_header(cache, stage).params["k"]
            notices += _doubtful(stage, k, recipe.num_neighbors, len(rows))
    found = Inputs(columns, neighbors, num_classes)
    weights = {stage: _any_header(cache, stage).weights for stage in found.stages}
    notices += [
        f"{stage} was made with random weights: it knows nothing"
        for stage, digest in weights.items()
        if digest and digest.startswith(RANDOM)
    ]
    notices += [
        f"{stage} is stale, what it was made from has changed since; run {_command(cache, stage)}"
        for stage in found.stages
        if stale_shards(cache.path, stage)
    ]
    return replace(found, notices=tuple(notices), weights=weights)


def _doubtful(stage: str, k: int, wanted: int, num_clips: int) -> Iterator[str]:
    """Say if there are fewer neighbours than wanted, or so many that they cannot be alike."""
    if k < wanted:
        yield f"{stage} has {k} neighbours, the recipe takes {wanted}"
    if min(k, wanted) > _SHARE_OF_NEIGHBORS * num_clips:
        yield (
            f"{stage}: {min(k, wanted)} of {num_clips} clips are more than 5 %, many will not be "
            "alike; lower num_neighbors"
        )


def _hint(cache: Cache, rows: NDArray[np.int64], recipe: Recipe, name: str) -> Column:
    """Find the hints of one modality: a vector of a sound, a map of a frame."""
    modality = name.removesuffix("_hint")
    teacher = getattr(recipe, f"{modality}_teacher")
    stage = f"{HINTS}/{teacher}"
    missing = np.setdiff1d(rows, _rows(cache, stage))
    if len(missing):
        raise InputError(
            f"{cache.path} lacks {stage} of {len(missing)} of {len(rows)} clips; run "
            f"{advice(f'embed-teachers --{modality} {teacher}', cache.path)}"
        )
    shape = _any_header(cache, stage).columns["value"].shape[1:]
    wanted = {"audio": 1, "visual": 3}[modality]
    if len(shape) != wanted:
        raise InputError(f"{stage} holds {shape}, no {modality} hint of {wanted} axes")
    return Column(stage, "value", of_frames=modality == "visual", shape=shape)


def _of_same_clips(cache: Cache, name: str, rows: NDArray[np.int64]) -> str:
    """Return the stage of that name (and `@`, a digest of ids) that is of exactly these clips."""
    found = [s for s in stages(cache.path) if s == name or s.startswith(f"{name}@")]
    command = _command(cache, name)
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
        modality, _, encoder = name.partition("-")
        return advice(f"knn --{modality} {encoder_option(encoder)}", cache.path)
    modality = "audio" if len(_any_header(cache, stage).columns["value"].shape) == 2 else "visual"
    return advice(f"embed-teachers --{modality} {name}", cache.path)


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
