"""Maps are computed once and stored, one file per run and benchmark; scoring reads the file.

Embeddings for retrieval and object maps are kept in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ...cache.store import Cache
from ...drafts import remove_orphans
from ...drafts import whole as whole
from ...drafts import write_whole as write_whole
from ...errors import InputError
from ...reading import read_regular
from ..benchmarks import Pair
from ..choices import MAPS_AT_A_TIME
from ..data.clips import data_fingerprint
from ..negatives.made import Made
from ..notices import tell
from ..recipe import Recipe
from ..runs.checkpoint import gone, require_checkpoint
from .object_prior import ObjectPrior
from .stored_arrays import Arrays, DamagedArraysError, pack, unpack

SCHEMA = "avpipe.maps/2"
OBJECT_MAPS = "object-maps"
_PAIRS_AT_ONCE = 1024
"""Between two reports of progress."""


class MapMaker(Protocol):
    """What makes similarity maps: a `Localizer`."""

    recipe: Recipe
    centres_px: NDArray[np.float64]

    def maps(
        self,
        cache: Cache,
        rows: Sequence[int] | NDArray[np.int64],
        audio_rows: Sequence[int] | NDArray[np.int64] | None = None,
        batch_size: int = MAPS_AT_A_TIME,
        added_rows: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Return similarity maps `(n, h, w)` of frames with sounds, or with mixtures of two."""

    def maps_with(
        self,
        cache: Cache,
        rows: Sequence[int] | NDArray[np.int64],
        names: Sequence[str],
        made: Made,
        batch_size: int = MAPS_AT_A_TIME,
    ) -> NDArray[np.float32]:
        """Return similarity maps `(n, h, w)` of frames with made sounds."""

    def embeddings(
        self,
        cache: Cache,
        rows: Sequence[int] | NDArray[np.int64],
        batch_size: int = MAPS_AT_A_TIME,
    ) -> NDArray[np.float32]:
        """Return `(n, 2, D)`: of whole frames and of sounds, unit length."""


@dataclass(frozen=True)
class StoredMaps:
    """Maps by what they are of.

    Attributes:
        index: Where the map of each pair is; of object maps, of each frame.
        maps: `(n, h, w)` cosines or activities; embeddings `(n, 2, D)`.
        centres_px: `(h,)` centres of the cells in the network's square image.
        image_px: Side of that image.
        reused: Whether they were read, not computed.
    """

    index: Mapping[Hashable, int]
    maps: NDArray[np.float32]
    centres_px: NDArray[np.float64]
    image_px: int
    reused: bool

    def cells(self, names: Sequence[Hashable]) -> NDArray[np.float32]:
        """Return the maps of pairs or frames, `(len(names), h, w)`."""
        return self.maps[[self.index[name] for name in names]]


def stored_maps(
    run_dir: Path,
    benchmark: str,
    pairs: Sequence[Pair],
    cache: Cache,
    open_run: Callable[[Path], MapMaker],
    *,
    checkpoint: Path | None = None,
    reads: Literal["maps", "embeddings"] = "maps",
    branch: str | None = None,
    head: str | None = None,
    made: Made | None = None,
    batch_size: int = MAPS_AT_A_TIME,
    progress: Callable[[int, int], None] | None = None,
) -> StoredMaps:
    """Read a run's maps, or compute and store them where weights, clips or pairs are others.

    Stored maps that are damaged are made again too, and a notice says so.

    Args:
        run_dir: The run's folder; the file is `evaluate/<benchmark>-maps.npz` in it.
        benchmark: Name of the benchmark.
        pairs: What maps are wanted of; their clips are in the cache.
        cache: The clips.
        open_run: Called with the checkpoint, only where maps have to be computed.
        checkpoint: Which of the run's, None for the newest.
        reads: What is wanted: maps, or embeddings of the pairs' frames and sounds.
        branch: Which of the run's weights, if not those its recipe tests; has a file of its own.
        head: Which of its projections, if not all; likewise.
        made: The sound that all frames get instead of their pairs'; noise is drawn for each pair's
            sound.
        batch_size: Pairs at a time.
        progress: Called with (maps made, maps wanted).

    Raises:
        InputError: If the run has no checkpoint, or it goes away meanwhile, or its spectrograms
            cannot be had.
        CacheUnwritableError: If the maps cannot be stored.
    """
    rows = np.array([_rows_of(cache, pair) for pair in pairs], np.int64)
    used = checkpoint or require_checkpoint(run_dir)[0]
    digest = weights_digest(run_dir, used)
    facts = {"weights": digest, "branch": branch or "", "reads": reads}
    facts |= {"head": head} if head else {}
    facts |= {"made": made.key} if made else {}
    key = _key(cache, rows, **facts)
    make = _make if reads == "maps" else _embed
    sounds = [pair.audio for pair in pairs]

    def compute() -> Arrays:
        run = open_run(used)
        if weights_digest(run_dir, used) != digest:
            raise gone(used)
        if made is None:
            return make(run, cache, rows, batch_size, progress)
        return _make_with(run, cache, rows, sounds, made, batch_size, progress)

    path = maps_path(run_dir, benchmark, reads, branch, head)
    return _kept(path, key, pairs, compute)


def maps_path(
    run_dir: Path, benchmark: str, reads: str, branch: str | None = None, head: str | None = None
) -> Path:
    """Return where a run's maps lie, as `stored_maps` names them."""
    stem = "-".join(filter(None, (benchmark, branch, head)))
    return run_dir / "evaluate" / f"{stem}-{reads}.npz"


def stored_object_maps(
    run_dir: Path,
    benchmark: str,
    videos: Sequence[str],
    cache: Cache,
    prior: ObjectPrior,
    *,
    batch_size: int = MAPS_AT_A_TIME,
    progress: Callable[[int, int], None] | None = None,
) -> StoredMaps:
    """Read the object maps of frames, or compute and store them beside a run's maps.

    Args:
        run_dir: The file is `evaluate/<benchmark>-object-maps.npz` in it.
        benchmark: Name of the benchmark.
        videos: Ids of the clips; they are in the cache.
        cache: The clips.
        prior: The network.
        batch_size: Frames at a time.
        progress: Called with (maps made, maps wanted).

    Raises:
        CacheUnwritableError: If the maps cannot be stored.
    """
    rows = np.array([cache.row_of(name) for name in videos], np.int64)
    key = _key(cache, rows, weights=prior.digest, branch="", reads=OBJECT_MAPS)

    def make() -> Arrays:
        return {
            "maps": prior.activities(cache, rows, batch_size, progress),
            "centres_px": prior.centres_px,
            "image_px": np.array(prior.image_px),
        }

    return _kept(maps_path(run_dir, benchmark, OBJECT_MAPS), key, videos, make)


def _rows_of(cache: Cache, pair: Pair) -> list[int]:
    """Return the rows of a pair's frame and sound, and of the sound that is added, -1 for none."""
    rows = [cache.row_of(name) for name in pair.clips]
    return rows if len(rows) == 3 else [*rows, -1]


def _key(cache: Cache, rows: NDArray[np.int64], **facts: str) -> dict[str, str]:
    """Return all that stored maps depend on."""
    if rows.ndim == 2 and (rows[:, 2] < 0).all():
        rows = rows[:, :2]  # as before there were mixtures
    return {
        "schema": SCHEMA,
        "data": data_fingerprint(cache, np.unique(rows[rows >= 0])),
        "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
        **facts,
    }


def _kept(
    path: Path, key: dict[str, str], names: Sequence[Hashable], make: Callable[[], Arrays]
) -> StoredMaps:
    """Return what a file made for this key holds; make the file if need be."""
    found = _read(path, key)
    arrays = found or make()
    remove_orphans(path.parent)
    if not found:
        write_whole(path, pack(key, arrays))
    index = {name: number for number, name in enumerate(names)}
    return StoredMaps(
        index, arrays["maps"], arrays["centres_px"], int(arrays["image_px"]), reused=bool(found)
    )


def _make(
    maker: MapMaker,
    cache: Cache,
    rows: NDArray[np.int64],
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> Arrays:
    """Compute the maps of `(n, 3)` rows, frame, sound and added; pairs of one frame in a row."""
    order = np.argsort(rows[:, 0], kind="stable")
    parts = []
    if progress:
        progress(0, len(rows))
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        part = rows[order[start : start + _PAIRS_AT_ONCE]]
        parts.append(maker.maps(cache, part[:, 0], part[:, 1], batch_size, *_added(part)))
        if progress:
            progress(start + len(part), len(rows))
    sorted_maps = np.concatenate(parts)
    maps = np.empty_like(sorted_maps)
    maps[order] = sorted_maps
    return {
        "maps": maps,
        "centres_px": maker.centres_px,
        "image_px": np.array(maker.recipe.image_size),
    }


def _make_with(
    maker: MapMaker,
    cache: Cache,
    rows: NDArray[np.int64],
    names: Sequence[str],
    made: Made,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> Arrays:
    """Compute the maps of `(n, 2)` rows' frames with sounds made for the names."""
    parts = []
    if progress:
        progress(0, len(rows))
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        parts.append(maker.maps_with(cache, rows[part, 0], names[part], made, batch_size))
        if progress:
            progress(min(part.stop, len(rows)), len(rows))
    return {
        "maps": np.concatenate(parts),
        "centres_px": maker.centres_px,
        "image_px": np.array(maker.recipe.image_size),
    }


def _added(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return the rows of the sounds that are added, where any is."""
    return (rows[:, 2],) if (rows[:, 2] >= 0).any() else ()


def _embed(
    maker: MapMaker,
    cache: Cache,
    rows: NDArray[np.int64],
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> Arrays:
    """Compute the embeddings of `(n, 3)` rows, where each pair is one clip's."""
    parts = []
    if progress:
        progress(0, len(rows))
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        part = rows[start : start + _PAIRS_AT_ONCE, 0]
        parts.append(maker.embeddings(cache, part, batch_size))
        if progress:
            progress(start + len(part), len(rows))
    return {"maps": np.concatenate(parts), "centres_px": np.zeros(0), "image_px": np.array(0)}


def weights_digest(run_dir: Path, checkpoint: Path) -> str:
    """Return a digest of what a run computes maps with: its record and a checkpoint's weights.

    Raises:
        InputError: If they have gone away meanwhile.
    """
    state = hashlib.sha256()
    try:
        for path in (run_dir / "run.json", *sorted(checkpoint.glob("*.safetensors"))):
            state.update(hashlib.sha256(read_regular(path)).digest())
    except OSError as error:  # one that still trains drops its old checkpoints
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); if {run_dir} is being trained, "
            "run the same command again"
        ) from None
    if not checkpoint.exists():  # it had no files to read
        raise gone(checkpoint)
    return state.hexdigest()


def _read(path: Path, key: dict[str, str]) -> Arrays | None:
    """Return what a file made for this key holds; None where it is absent, damaged or other."""
    try:
        found_key, arrays = unpack(read_regular(path))
    except OSError:
        return None
    except DamagedArraysError:
        tell(f"{path} is damaged, or an older avpipe wrote it: what it holds is made again")
        return None
    return arrays if found_key == key else None
