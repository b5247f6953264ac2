"""A run's record, `run.json`: all that decides its weights, and what it was made with."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...advice import quoted
from ...cache.schema import MANIFEST, id_set_digest
from ...drafts import write_whole
from ...errors import CacheCorruptError, InputError, UsageError
from ...reading import is_no_file, parse_json, read_regular
from ..data.features import Cached, cached_of
from ..data.teacher_columns import short
from ..notices import tell
from ..recipe import Recipe, first_difference, recipe_from, recipe_values
from .sealed import DIGEST, seal, unseal

SCHEMA = "avpipe.run/1"


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` says: all that decides the run's weights, and the versions that made them.

    Attributes:
        recipe: The recipe.
        recipe_name: What the user called it.
        seed: Seed of the weights, the order and the views.
        cache: The cache's folder, for information.
        data: Digest of the rows and of their shards' fingerprints (`clips.data_fingerprint`).
        batch_size: Clips per step, the recipe's or all there are.
        ids: Ids trained on.
        versions: Library versions, for information.
        num_ranks: Processes that train it: order and views depend on how clips are shared.
        image_weights: sha256 of the file the image encoder began with, None from scratch.
        audio_weights: sha256 of the weights the audio encoder was taken from, None from scratch.
        inputs: Stages read beside `extract`, and the digest of the weights behind each.
        features: What the cached features are that stand for encoders, by modality.
        inherited: Ids that the weights it began with were trained on: those behind `audio_init`;
            None where that is not known.
        imported: None for a run that was trained here; else where its weights come from
            (`peers.import_checkpoint`): there is then no cache, no data digest, and ids only where
            the user named the list it was trained on.
        threads: Threads of a step on a CPU, by whose number sums are rounded; None where nobody
            counted them.
        is_sealed: Whether the file says that nobody has changed it since, as those of older
            versions do not; it does not stand there.
    """

    recipe: Recipe
    recipe_name: str
    seed: int
    cache: str
    data: str
    batch_size: int
    ids: tuple[str, ...]
    versions: dict[str, str]
    num_ranks: int = 1
    image_weights: str | None = None
    audio_weights: str | None = None
    inputs: Mapping[str, str | None] = field(default_factory=dict)
    features: Mapping[str, Cached] = field(default_factory=dict)
    inherited: tuple[str, ...] | None = ()
    imported: Mapping[str, Any] | None = None
    threads: int | None = None
    is_sealed: bool = field(default=True, compare=False)

    @property
    def trained_on(self) -> frozenset[str] | None:
        """Ids of all clips that the weights have learnt from; None where that is not known."""
        if self.inherited is None or (self.imported is not None and not self.ids):
            return None
        return frozenset(self.ids).union(self.inherited)


def library_versions() -> dict[str, str]:
    """Return the versions that a run's figures depend on."""
    names = ("avpipe", "torch", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def write_record(run_dir: Path, record: RunRecord) -> None:
    """Write `run.json` with its digest, whole or not at all."""
    values = {"schema": SCHEMA, **vars(record), "recipe": recipe_values(record.recipe)}
    del values["is_sealed"]
    values["ids"] = list(record.ids)
    values["features"] = {name: asdict(cached) for name, cached in record.features.items()}
    write_whole(run_dir / "run.json", (json.dumps(seal(values), indent=1) + "\n").encode())


def read_record(run_dir: Path) -> RunRecord:
    """Read `run.json`; of one without a digest, which older versions wrote, a notice tells.

    Raises:
        InputError: If there is no run.
        CacheCorruptError: If the record is damaged.
    """
    path = run_dir / "run.json"
    try:
        values, is_sealed = unseal(read_regular(path))
        values.pop("schema")
        _require_types(values)
        if values["recipe"].get("partners") in ("nearest", "both"):
            values["recipe"].setdefault("nearest_share", 0.5)  # what older runs drew by
        values["recipe"] = recipe_from(values["recipe"], dict.fromkeys(values["recipe"], str(path)))
        values["ids"] = tuple(values["ids"])
        values["features"] = cached_of(values.get("features", {}))
        unknown = values["recipe"].audio_init != "scratch"  # older ones do not say
        inherited = values.get("inherited", None if unknown else ())
        values["inherited"] = None if inherited is None else tuple(inherited)
        record = RunRecord(**values, is_sealed=is_sealed)
    except FileNotFoundError:
        raise InputError(no_run(run_dir)) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        if isinstance(error, OSError) and not is_no_file(error):
            raise
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise CacheCorruptError(
            f"{path} is damaged ({why}); put back a copy of it, or train again into a new folder"
        ) from None
    if not is_sealed:
        tell(f"{path} has no {DIGEST}, an older avpipe wrote it: damage in it would not be noticed")
    return record


def identity_of(record: RunRecord) -> dict[str, Any]:
    """Return what tells a run from others, as JSON holds it: it stands beside weights."""
    found = {
        "recipe": recipe_values(record.recipe),
        "seed": record.seed,
        "data": record.data,
        "ids_sha256": id_set_digest(record.ids),
        "imported": record.imported,
    }
    plain: dict[str, Any] = parse_json(json.dumps(found))
    return plain


def other_run(record: RunRecord, beside: Mapping[str, Any]) -> str:
    """Say in what the identity that stands beside weights is not that of a record.

    What only one of both tells is left aside: another version may have written it. A record that
    was changed by hand, or by a version that seals none, is taken at its word.

    Returns:
        Such as "seed is 1, not 0 as in run.json"; "" where nothing differs.
    """
    return _difference(identity_of(record), beside) if record.is_sealed else ""


def _difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    for name in mine.keys() & theirs.keys():
        one, other = mine[name], theirs[name]
        if isinstance(one, dict) and isinstance(other, dict):
            if found := _difference(one, other):
                return found
        elif one != other:
            return f"{name} is {str(other)[:40]}, not {str(one)[:40]} as in run.json"
    return ""


_TYPES: dict[type, tuple[str, ...]] = {
    int: ("seed", "batch_size", "num_ranks", "threads"),
    str: ("recipe_name", "cache", "data", "image_weights", "audio_weights"),
    list: ("ids", "inherited"),
    dict: ("recipe", "versions", "inputs", "imported", "features"),
}
_MAY_BE_NULL = ("inherited", "imported", "threads", "image_weights", "audio_weights")


def _require_types(values: Mapping[str, Any]) -> None:
    """Check what the fields of a record hold.

    Raises:
        ValueError: One holds something else.
    """
    for kind, names in _TYPES.items():
        for name in set(names).intersection(values):
            value = values[name]
            if type(value) is not kind and not (value is None and name in _MAY_BE_NULL):
                raise ValueError(f"{name} is {str(value)[:40]!r}")
            if isinstance(value, list) and not all(isinstance(one, str) for one in value):
                raise ValueError(f"{name} holds other things than ids")
    if not 0 <= values["seed"] < 1 << 63:
        raise ValueError(f"seed is {values['seed']}")
    for name in ("batch_size", "num_ranks"):
        if values.get(name, 1) < 1:
            raise ValueError(f"{name} is {values[name]}")
    if values["batch_size"] < values.get("num_ranks", 1):  # each process has a share of a batch
        raise ValueError(f"batch_size is {values['batch_size']}")


def one_run(folder: Path) -> Path:
    """Return the folder of a run: the one named, or the only seed in it.

    Raises:
        InputError: There is no run, or there are several.
    """
    if (folder / "run.json").exists():
        return folder
    records = list(folder.glob("seed*/run.json"))
    if len(records) != 1:
        raise InputError(no_run(folder))
    return records[0].parent


def no_run(folder: Path) -> str:
    """Say of a folder that is not a run's what it is, or what makes it one."""
    if is_cache(folder):
        return f"{folder} is a cache, no run; name the folder of a run"
    if seeds := sorted(folder.glob("seed*/run.json")):
        return f"{folder} holds {len(seeds)} runs; name one, as {seeds[0].parent}"
    if runs := sorted(folder.glob("*/run.json")):
        return f"{folder} holds no run; it holds {runs[0].parent}: name that"
    return f"{folder} holds no run; make one with `avpipe train --run {quoted(folder)}`"


def is_cache(folder: Path) -> bool:
    """Whether a folder holds clips, which no run may be laid into."""
    return (folder / MANIFEST).is_dir()


def require_same(run_dir: Path, found: RunRecord, wanted: RunRecord) -> None:
    """See that a run may go on in its folder.

    Raises:
        CacheCorruptError: If the folder holds a run of another recipe, seed, or other clips.
    """
    difference = first_difference(recipe_values(found.recipe), wanted.recipe)
    if difference is None:
        _require_same_networks(run_dir, found, wanted)
    for name in ("seed", "data", "batch_size", "num_ranks"):
        if difference is None and getattr(found, name) != getattr(wanted, name):
            difference = name, getattr(found, name), getattr(wanted, name)
    if difference:
        name, old, new = difference
        raise CacheCorruptError(
            f"{run_dir} holds a run with {name} = {old!r}, this one has {new!r}; name another "
            "folder with --run"
        )


def _require_same_networks(run_dir: Path, found: RunRecord, wanted: RunRecord) -> None:
    """See that what is read beside clips was made by the networks that the run began with.

    Raises:
        CacheCorruptError: It was not.
    """
    for stage, weights in found.inputs.items():
        if stage in wanted.inputs and wanted.inputs[stage] != weights:
            raise CacheCorruptError(
                f"{run_dir} learnt from {stage} with weights {short(weights)}, which has weights "
                f"{short(wanted.inputs[stage])} now; make {stage} again with the former "
                "(--weights, --overwrite), or name another folder with --run"
            )
    for modality, mine in found.features.items():
        theirs = wanted.features.get(modality, mine)
        if theirs.stage_version != mine.stage_version:
            raise CacheCorruptError(
                f"{run_dir} learnt from {mine.teacher} of version {mine.stage_version}, the cache "
                f"has version {theirs.stage_version} now; name another folder with --run"
            )
