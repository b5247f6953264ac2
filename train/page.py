"""A run's page, `run.json`: all that decides its weights, and what it was made with."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..cache.schema import MANIFEST
from ..drafts import write_whole
from ..errors import CacheCorruptError, InputError, UsageError
from .recipe import Recipe, first_difference, recipe_from, recipe_values

SCHEMA = "avpipe.run/1"


@dataclass(frozen=True)
class RunPage:
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
        inherited: Ids that the weights it began with were trained on: those behind `audio_init`;
            None where that is not known.
        imported: None for a run that was trained here; else where its weights come from
            (`peers.import_checkpoint`): there is then no cache, no data digest, and ids only where
            the user named the list it was trained on.
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
    inherited: tuple[str, ...] | None = ()
    imported: Mapping[str, Any] | None = None

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


def write_page(run_dir: Path, page: RunPage) -> None:
    """Write `run.json`, whole or not at all."""
    record = {"schema": SCHEMA, **vars(page), "recipe": recipe_values(page.recipe)}
    record["ids"] = list(page.ids)
    write_whole(run_dir / "run.json", (json.dumps(record, indent=1) + "\n").encode())


def read_page(run_dir: Path) -> RunPage:
    """Read `run.json`.

    Raises:
        InputError: If there is no run.
        CacheCorruptError: If the page is damaged.
    """
    path = run_dir / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        record.pop("schema")
        record["recipe"] = recipe_from(record["recipe"], dict.fromkeys(record["recipe"], str(path)))
        record["ids"] = tuple(record["ids"])
        unknown = record["recipe"].audio_init != "scratch"  # older pages do not say what it learnt
        inherited = record.get("inherited", None if unknown else ())
        record["inherited"] = None if inherited is None else tuple(inherited)
        return RunPage(**record)
    except FileNotFoundError:
        raise InputError(no_run(run_dir)) from None
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise CacheCorruptError(
            f"{path} is damaged ({error}); train again into a new folder"
        ) from None


def no_run(folder: Path) -> str:
    """Say of a folder that is not a run's what it is, or what makes it one."""
    if is_cache(folder):
        return f"{folder} is a cache, no run; name the folder of a run"
    if seeds := sorted(folder.glob("seed*/run.json")):
        return f"{folder} holds {len(seeds)} runs; name one, as {seeds[0].parent}"
    if runs := sorted(folder.glob("*/run.json")):
        return f"{folder} holds no run; it holds {runs[0].parent}: name that"
    return f"{folder} holds no run; make one with `avpipe train --run {folder}`"


def is_cache(folder: Path) -> bool:
    """Whether a folder holds clips, which no run may be laid into."""
    return (folder / MANIFEST).is_dir()


def require_same(run_dir: Path, found: RunPage, wanted: RunPage) -> None:
    """See that a run may go on in its folder.

    Raises:
        CacheCorruptError: If the folder holds a run of another recipe, seed, or other clips.
    """
    difference = first_difference(recipe_values(found.recipe), wanted.recipe)
    for name in ("seed", "data", "batch_size", "num_ranks"):
        if difference is None and getattr(found, name) != getattr(wanted, name):
            difference = name, getattr(found, name), getattr(wanted, name)
    if difference:
        name, old, new = difference
        raise CacheCorruptError(
            f"{run_dir} holds a run with {name} = {old!r}, this one has {new!r}; name another "
            "folder with --run"
        )
