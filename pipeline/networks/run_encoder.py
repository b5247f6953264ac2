"""`run:RUN`: the sounds of a cache as a run's encoder hears them, or the regions that it finds."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ...cache.schema import RUN_ENCODER
from ...errors import UsageError
from ...stages.embed.todo import Given
from ...train.runs.regions import RunRegions
from ...train.runs.sounds import RunSounds, sounds_of_run
from ...weights import Weights

PREFIX = "run:"
_LONGEST = 60


def is_run(name: str) -> bool:
    """Whether an encoder is a run and no teacher."""
    return name.startswith(PREFIX)


def run_encoder_name(name: str, prefix: str = RUN_ENCODER) -> str:
    """Return what a run is called in the names of stages: `run:runs/first` is `run-first`.

    Its regions (`prefix`) are `region-first`.

    One of several seeds has the name of their folder too, `run-first-seed0`. Weights of another run
    of the same name differ, and are refused like those of another teacher.

    Raises:
        UsageError: No folder is named.
    """
    if not name.removeprefix(PREFIX):
        raise UsageError(f"{name} names no run; it should be {PREFIX} and the run's folder")
    folder = Path(name.removeprefix(PREFIX)).absolute()
    parts = [folder.name]
    if re.fullmatch(r"seed\d+", folder.name):
        parts = [folder.parent.name, folder.name]
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(parts)).strip("-.")
    return prefix + (plain[:_LONGEST].rstrip("-.") or "unnamed")


def given_networks(name: str) -> tuple[Given, RunSounds | None]:
    """Open the run that `run:RUN` names, as `stages.embed.run.embed` takes it.

    Returns:
        Networks that no module defines, and the run; of a teacher none.

    Raises:
        UsageError: No folder is named.
        InputError: There is no run, or it has no checkpoint.
        CacheCorruptError: It is damaged.
    """
    if not is_run(name):
        return {}, None
    called = run_encoder_name(name)
    sounds = sounds_of_run(Path(name.removeprefix(PREFIX)))
    return {called: (sounds, Weights((), sounds.digest))}, sounds


def leak_notices(run: RunSounds | RunRegions | None, hold_out: Collection[str]) -> list[str]:
    """Say when clips that are held out are behind the features: the run has learnt from them."""
    if run is None or not hold_out:
        return []
    trained_on = run.record.trained_on
    if trained_on is None:
        return [f"{run.folder} came without the list of all it has learnt: test clips may be in"]
    known = trained_on.intersection(hold_out)
    if not known:
        return []
    return [
        f"{run.folder} was trained on {len(known)} clips of --hold-out ({min(known)} first): "
        "its features know them"
    ]
