"""What a cache knows of single clips, gathered for `avpipe inspect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....advice import DEFAULT_CACHE, advice
from ....cache.schema import CLUSTERS, EXTRACT, HINTS, NEIGHBORS, Header
from ....cache.state import headers, published_ns, stages
from ....cache.store import Cache, CachedClip
from ....errors import InputError
from ....stages.spectrogram import FRONT_ENDS, FrontEnd
from ....stages.teachers.nets.audioset import NAMES_FILE, read_names

NUM_NEIGHBORS = 5
_MAKERS = {"hint": "embed-teachers", "tags": "embed-teachers", "image": "knn", "audio": "knn"}
_NAMES = {
    "hint": "visual hint",
    "tags": "audio tags",
    "image": "neighbours by sight",
    "audio": "neighbours by sound",
}


@dataclass(frozen=True)
class Neighbor:
    """A clip near another one.

    Attributes:
        id: Of the clip.
        similarity: Cosine.
        label: If it has one.
        frame: `(H, W, 3)` uint8 RGB.
        silent: Whether nothing is heard in it.
    """

    id: str
    similarity: float
    label: str | None
    frame: NDArray[np.uint8]
    silent: bool = False

    @property
    def name(self) -> str:
        """What it is called beside its cosine."""
        return ("silent, " if self.silent else "") + (self.label or self.id)


@dataclass(frozen=True)
class Card:
    """Everything that is shown of one clip; what the cache lacks is None or empty.

    Attributes:
        clip: As extracted.
        front_end: What its spectrogram was made with.
        hint: `(h, w)` float32, the length of the visual hint's vector in every cell.
        tags: What the audio teacher hears, best first: number of the class, its name, score.
        neighbors: By modality (`image`, `audio`), nearest first; none where the clip is not in the
            id set that was searched.
        cluster: Number of its cluster.
    """

    clip: CachedClip
    front_end: FrontEnd
    hint: NDArray[np.float32] | None = None
    tags: tuple[tuple[int, str, float], ...] = ()
    neighbors: Mapping[str, tuple[Neighbor, ...]] = field(default_factory=dict)
    cluster: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the `--json` form."""
        clip = self.clip
        return {
            "id": clip.id,
            "row": clip.row,
            "label": clip.label,
            "frame_hw": list(clip.frame.shape[:2]),
            "frame_pts_s": clip.frame_pts_s,
            "duration_s": clip.duration_s,
            "silent": clip.silent,
            "short": clip.short,
            "cluster": self.cluster,
            "tags": [{"class": c, "name": name, "score": s} for c, name, s in self.tags],
            "neighbors": {
                modality: [
                    {"id": one.id, "similarity": one.similarity, "label": one.label}
                    for one in found
                ]
                for modality, found in self.neighbors.items()
            },
        }


def shown_stages(cache: Cache, rows: Sequence[int] = ()) -> dict[str, Header]:
    """Choose which stages are shown: of each kind that with most of the clips, then the newest.

    Args:
        cache: The cache.
        rows: Of the clips that will be shown.

    Returns:
        The header of one shard of each: of `hint` (a teacher's map), `tags` (what a teacher hears),
        `image` and `audio` (neighbours), and `clusters`; a kind that the cache lacks is absent.
    """
    fits: dict[str, Callable[[Header], bool]] = {
        "hint": lambda header: _is_of(header, HINTS) and _is_map(header),
        "tags": lambda header: _is_of(header, HINTS) and "tags" in header.columns,
        "image": lambda header: _is_of(header, f"{NEIGHBORS}/image-"),
        "audio": lambda header: _is_of(header, f"{NEIGHBORS}/audio-"),
        "clusters": lambda header: _is_of(header, CLUSTERS),
    }
    by_age = sorted(stages(cache.path), key=lambda stage: published_ns(cache.path / stage))
    found = [header for stage in by_age for header in list(headers(cache.path, stage))[:1]]

    def held(header: Header) -> int:
        column = cache.column(f"{header.stage}/row")
        return sum(row in column for row in rows)

    fitting = {kind: [header for header in found if fit(header)] for kind, fit in fits.items()}
    # of equals max takes the first
    return {kind: max(ones[::-1], key=held) for kind, ones in fitting.items() if ones}


def _is_of(header: Header, prefix: str) -> bool:
    return header.stage.startswith(prefix)


def _is_map(header: Header) -> bool:
    return "value" in header.columns and len(header.columns["value"].shape) == 4


def remarks(shown: Mapping[str, Header], cache: Path = DEFAULT_CACHE) -> list[str]:
    """Say what is missing and which command makes it, and what was made with random weights.

    Args:
        shown: The stages that are there.
        cache: As the user named it; the commands repeat it where it is not the default.
    """
    lines = []
    for command in dict.fromkeys(_MAKERS.values()):
        lacking = [kind for kind, maker in _MAKERS.items() if maker == command]
        names = [_NAMES[kind] for kind in lacking if kind not in shown]
        if names:
            lines.append(f"no {' and no '.join(names)}: run {advice(command, cache)}")
    random = [one.stage for one in shown.values() if (one.weights or "").startswith("random")]
    if random:
        lines.append(f"RANDOM weights, which know nothing, made {', '.join(random)}")
    return lines


def make_card(
    cache: Cache, clip_id: str, shown: Mapping[str, Header], class_names: Mapping[int, str]
) -> Card:
    """Read what is shown of one clip.

    Args:
        cache: The cache.
        clip_id: The clip.
        shown: Stages, as `shown_stages` chooses them.
        class_names: Of the classes of tags; one without a name is called by its number.

    Raises:
        KeyError: No such clip is done.
    """
    clip = cache.clip(clip_id)
    kind = next(headers(cache.path, EXTRACT)).params["spectrogram"]
    numbers, scores = (
        _item(cache, shown, "tags", name, clip.row) for name in ("tags", "tag_scores")
    )
    hint = _item(cache, shown, "hint", "value", clip.row)
    cluster = _item(cache, shown, "clusters", "label", clip.row)
    tags = (
        []
        if numbers is None or scores is None
        else zip(numbers.tolist(), scores.tolist(), strict=True)
    )
    return Card(
        clip=clip,
        front_end=FRONT_ENDS[kind],
        hint=None if hint is None else np.linalg.norm(hint.astype(np.float32), axis=0),
        tags=tuple((n, class_names.get(n, f"class {n}"), float(score)) for n, score in tags),
        neighbors={
            modality: _neighbors(cache, shown[modality].stage, clip.row)
            for modality in ("image", "audio")
            if modality in shown
        },
        cluster=None if cluster is None else int(cluster),
    )


def _item(
    cache: Cache, shown: Mapping[str, Header], kind: str, column: str, row: int
) -> NDArray[Any] | None:
    """Return what a stage holds of a row, None if there is no such stage or it lacks the row."""
    if kind not in shown:
        return None
    try:
        return cache.column(f"{shown[kind].stage}/{column}")[row]
    except KeyError:
        return None


def _neighbors(cache: Cache, stage: str, row: int) -> tuple[Neighbor, ...]:
    view = cache.neighbors(stage.partition("/")[2])
    if row not in view:
        return ()
    rows, similarity = (column.tolist() for column in view[row])
    found, extracted = [], cache.column(f"{EXTRACT}/row")
    for other, cosine in zip(rows, similarity, strict=True):
        if other in extracted:  # -1 is none; one may have been extracted when they were searched
            clip = cache.clip(cache.manifest.line(other)["id"])
            found.append(Neighbor(clip.id, cosine, clip.label, clip.frame, clip.silent))
        if len(found) == NUM_NEIGHBORS:
            break
    return tuple(found)


def spread(ids: Sequence[str], count: int) -> list[str]:
    """Choose `count` ids, evenly spaced from the first to the last; all if there are fewer."""
    places = np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)
    return [ids[place] for place in places]


def read_class_names(path: Path | None) -> dict[int, str]:
    """Read the names of AudioSet's classes, or a table of one's own of the same form.

    Args:
        path: The table; None for AudioSet's own.

    Raises:
        InputError: It cannot be read, or is not such a table.
    """
    path = path or NAMES_FILE
    try:
        return read_names(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(
            f"{path}: not of the form of AudioSet's class_labels_indices.csv ({error})"
        ) from error
