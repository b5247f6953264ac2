"""`avpipe import-checkpoint` and `avpipe export`: what they print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..train.runs.peers import import_checkpoint
from ..train.runs.record import one_run, read_page
from .id_lists import read_ids_to_take


def imported(
    file: Path,
    peer: str,
    run: Path,
    variant: str | None,
    trained_on: Path | None,
    settings: Sequence[str],
) -> dict[str, Any]:
    """Import released weights; return the `avpipe.import-checkpoint/1` document.

    Raises:
        Errors as `train.peers.import_checkpoint` does, and of the list.
    """
    ids = read_ids_to_take(trained_on, "--trained-on")
    page, was_there = import_checkpoint(
        file, peer, run, variant=variant, settings=settings, trained_on=ids or ()
    )
    assert page.imported is not None
    recipe = page.recipe
    return {
        "schema": "avpipe.import-checkpoint/1",
        "run": str(run),
        **page.imported,
        "objective": recipe.objective,
        "spectrogram": recipe.spectrogram,
        "image_test": recipe.image_test,
        "test_weights": recipe.test_weights,
        "trained_on": "unknown" if ids is None else f"{len(ids)} clips",
        "done": int(not was_there),
        "skipped": int(was_there),
    }


def exported(run: Path, out: Path | None) -> dict[str, Any]:
    """Export a run; return the `avpipe.export/1` document.

    Raises:
        Errors as `train.export.export_run` does.
    """
    run = one_run(run)
    read_page(run)
    from ..train.runs.export import export_run

    files = export_run(run, run / "export" if out is None else out)
    return {
        "schema": "avpipe.export/1",
        "run": str(run),
        **{name: str(path) for name, path in files.items()},
        "bytes": sum(path.stat().st_size for path in files.values()),
    }
