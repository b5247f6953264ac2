"""Folders of runs, as commands name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, UsageError
from ..train.runs.hub import local_run
from ..train.runs.record import no_run


def run_folders(named: Sequence[Path]) -> list[Path]:
    """Return the runs that folders hold: themselves, or one for each seed.

    Raises:
        UsageError: A run is named twice.
        InputError: A folder holds no run.
    """
    found: list[Path] = []
    for folder in named:
        if folder.is_file():
            raise InputError(f"{folder} is a file; name the folder of a run")
        records = [folder / "run.json"] if (folder / "run.json").exists() else []
        records = records or sorted(folder.glob("seed*/run.json"), key=_seed_of)
        if not records:
            raise InputError(no_run(folder))
        found += [record.parent for record in records]
    real = [folder.resolve() for folder in found]
    for number, folder in enumerate(found):
        if real[number] in real[:number]:
            raise UsageError(f"{folder} is named twice")
    return found


def one_run_folder(named: Path, option: str = "") -> Path:
    """Return the one run that a folder holds: itself, or its only seed.

    Args:
        named: The folder, or where it lies on the Hugging Face Hub: `hf://USER/RUN`.
        option: What the command calls it, for the message; empty for an argument.

    Raises:
        InputError: It holds no run, or several.
        MissingDependencyError: The Hub cannot be reached.
    """
    named = local_run(named)
    run, *others = run_folders([named])
    if others:
        raise InputError(f"{named} holds several runs; name one, as in {f'{option} {run}'.strip()}")
    return run


def _seed_of(record: Path) -> tuple[int, str]:
    """Sort seed10 behind seed9."""
    return len(record.parent.name), record.parent.name
