"""What teachers left of clips: all of it there, of one network, finite; else the command for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...advice import advice
from ...cache.schema import HINTS, canonical_json, shard_path
from ...cache.shard import Shard, read_header
from ...cache.state import headers, shard_numbers
from ...cache.store import Cache
from ...errors import CacheCorruptError, InputError
from ...weights import RANDOM

Modality = Literal["visual", "audio"]
MODALITIES: tuple[Modality, Modality] = ("visual", "audio")
_DIGITS = 12
"""Of a digest, as `status` and the summaries show it."""


class Wanted(NamedTuple):
    """What a recipe reads of a teacher.

    Attributes:
        modality: What it sees or hears.
        teacher: Its name.
        weights: Digest of the weights that are wanted, where somebody knows.
    """

    modality: Modality
    teacher: str
    weights: str | None = None

    @property
    def stage(self) -> str:
        """Where it lies in the cache."""
        return f"{HINTS}/{self.teacher}"


def require_teachers(cache: Cache, rows: NDArray[np.int64], wanted: Sequence[Wanted]) -> None:
    """See that the cache has what teachers left of clips, each of one network.

    Args:
        cache: The cache.
        rows: The clips.
        wanted: Of which teachers.

    Raises:
        InputError: Something is missing; one line with all of it, and the command that fills it.
        CacheCorruptError: Shards of a teacher are of different networks.
    """
    lacking = {one: num for one in wanted if (num := len(np.setdiff1d(rows, _rows(cache, one))))}
    if lacking:
        (first, num), *others = lacking.items()
        more = "".join(f" and {one.stage} of {its}" for one, its in others)
        raise InputError(
            f"{cache.path} lacks {first.stage} of {num} of {len(rows)} clips{more}; run "
            f"{filling(cache, list(lacking))}"
        )
    for one in wanted:
        _require_one_network(cache, rows, one)


def filling(cache: Cache, lacking: Sequence[Wanted], more: str = "") -> str:
    """Return the command that makes what is missing and nothing else, in backquotes.

    Args:
        cache: The cache.
        lacking: What is missing; several of one modality take several commands.
        more: Options beside.
    """
    named = {
        modality: list(dict.fromkeys(one.teacher for one in lacking if one.modality == modality))
        for modality in MODALITIES
    }
    if not more and all(_is_random(cache, one) for one in lacking):
        more = f" --weights {RANDOM}"
    return " and ".join(
        advice(f"embed-teachers --visual {visual} --audio {audio}{more}", cache.path)
        for visual, audio in zip_longest(named["visual"], named["audio"], fillvalue="none")
    )


def _is_random(cache: Cache, one: Wanted) -> bool:
    """Whether random weights are wanted, or are those of what is there."""
    known = [one.weights] if one.weights else [h.weights for h in headers(cache.path, one.stage)]
    return bool(known) and all((weights or "").startswith(RANDOM) for weights in known)


def _rows(cache: Cache, one: Wanted) -> NDArray[np.int64]:
    numbers = sorted(shard_numbers(cache.path, one.stage))
    parts = [Shard(shard_path(cache.path, one.stage, n), verify=False).rows for n in numbers]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _require_one_network(cache: Cache, rows: NDArray[np.int64], one: Wanted) -> None:
    """Refuse to learn from two networks as if they were one: an `--overwrite` that was stopped."""
    numbers = {cache.manifest.shard_of(row) for row in rows.tolist()}
    found: Counter[tuple[str, str]] = Counter()
    for number in sorted(numbers):
        header = read_header(shard_path(cache.path, one.stage, number))
        if header.done:
            made = {"version": header.stage_version, **header.params}
            found[short(header.weights), canonical_json(made).decode()] += 1
    if len(found) < 2:
        return
    weights = Counter[str]()
    for (name, _), num in found.items():
        weights[name] += num
    what = " and ".join(f"{name} in {num} shards" for name, num in weights.items())
    if len(weights) < 2:
        what = "different versions"
    raise CacheCorruptError(
        f"{cache.path / one.stage} mixes features of different networks ({what}); make them all "
        f"of one: {filling(cache, [one], ' --overwrite')}"
    )


def short(digest: str | None) -> str:
    """Return a digest by its first digits; `random:0` as it is."""
    return str(digest)[:_DIGITS]


def finite_item(cache: Cache, shard: Shard, name: str, index: int) -> NDArray[Any]:
    """Return one clip's element of a teacher's column.

    Raises:
        InputError: It holds NaN or infinity.
    """
    value = shard.item(name, index)
    if value.dtype.kind == "f" and not np.isfinite(value.sum(dtype=np.float64)):
        modality: Modality = "audio" if value.ndim == 1 else "visual"
        wanted = Wanted(modality, shard.header.stage.partition("/")[2], shard.header.weights)
        clip_id = cache.manifest.line(int(shard.rows[index]))["id"]
        raise InputError(
            f"{shard.path}: {name} of clip {clip_id} holds NaN or infinity; remove the file and "
            f"run {filling(cache, [wanted])}"
        )
    return value
