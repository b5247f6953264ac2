"""`avpipe localize`: what was asked for, with a bar; what came of it, as a document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.store import Cache
from ..errors import InputError
from ..train.geometry import Geometry
from .id_lists import read_ids
from .inputs import scan
from .localize import localize_clips, localize_files
from .training import run_folders
from .watch import watch


@dataclass(frozen=True)
class DrawSettings:
    """Everything `localize` can be told; either `inputs` or `ids`."""

    inputs: tuple[str, ...]
    ids: Path | None
    cache: Path
    run: Path
    out: Path
    world: Path | None = None
    """Folder of the synthetic world the clips are of: its boxes are drawn."""
    alpha: float = 0.5
    geometry: Geometry = "rf-centred"
    device: str = "auto"


def draw(settings: DrawSettings) -> dict[str, Any]:
    """Localize and draw; return the `avpipe.localize/1` document.

    Raises:
        Errors as `localize_files` and `localize_clips` do.
    """
    (run, *others) = run_folders([settings.run])
    if others:
        raise InputError(f"{settings.run} holds several runs; name one, as in --run {run}")
    options: dict[str, Any] = {
        "alpha": settings.alpha,
        "geometry": settings.geometry,
        "device": settings.device,
    }
    with watch("localize") as update:
        if settings.ids is None:
            progress = _counted(update, len(scan(settings.inputs).candidates))
            done = localize_files(settings.inputs, run, settings.out, progress=progress, **options)
        else:
            ids = read_ids(settings.ids) or []
            if not ids:
                raise InputError(f"{settings.ids} names no clip")
            done = localize_clips(
                ids,
                Cache(settings.cache),
                run,
                settings.out,
                world=settings.world,
                progress=_counted(update, len(ids)),
                **options,
            )
    return {
        "schema": "avpipe.localize/1",
        "pictures": [str(path) for path in done.pictures],
        "failed": {
            failure.id: f"{failure.reason} {failure.detail}".rstrip() for failure in done.failures
        },
    }


def _counted(update: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Start the bar, and add the total that the pictures' count lacks."""
    update(0, total)
    return lambda done: update(done, total)
