"""`avpipe localize`: what was asked for, with a bar; what came of it, as a document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cache.store import Cache
from ...errors import ClipsFailedError, InputError, UsageError
from ...machine import AUTO
from ...weights import PRETRAINED
from ..extract.scan import Candidate, scan
from ..id_lists import read_ids
from ..output import note
from ..threads import network_threads
from ..training import run_folders
from ..watch import watch
from .given import PICTURE_SUFFIXES, cached_sources, with_sound

if TYPE_CHECKING:
    from ...train.nets.geometry import Geometry
    from ...train.score.controls import BlendScales
    from .files import LocalizeResult


@dataclass(frozen=True)
class DrawSettings:
    """Everything `localize` can be told; either `inputs` or `ids`."""

    inputs: tuple[str, ...]
    ids: Path | None
    cache: Path
    run: Path
    out: Path
    annotations: Path | None = None
    """Where the true boxes are; pictures show them."""
    alpha: float = 0.5
    scales: BlendScales = "minmax"
    geometry: Geometry = "rf-centred"
    device: str = "auto"
    threads: str = AUTO
    weights: tuple[str, ...] = (PRETRAINED,)
    """Where the teachers of a run on cached features come from."""
    sound: Path | None = None
    """Instead of the one input's own."""
    video: bool = False
    """Films instead of pictures."""
    every_s: float = 0.5


def draw(settings: DrawSettings) -> dict[str, Any]:
    """Localize and draw; return the `avpipe.localize/1` document.

    Raises:
        UsageError: The settings contradict each other.
        Errors as `localize_files`, `localize_videos` and `localize_clips` do.
    """
    (run, *others) = run_folders([settings.run])
    if others:
        raise InputError(f"{settings.run} holds several runs; name one, as in --run {run}")
    try:
        done = _drawn(settings, run)
    except ClipsFailedError as error:
        if settings.sound is None:
            raise
        raise ClipsFailedError(f"{error}, with the sound of {settings.sound}") from None
    return {
        "schema": "avpipe.localize/1",
        "pictures": [str(path) for path in done.pictures],
        "videos": [str(path) for path in done.videos],
        "failed": {
            failure.id: f"{failure.reason} {failure.detail}".rstrip() for failure in done.failures
        },
        "notices": done.notices,
    }


def _drawn(settings: DrawSettings, run: Path) -> LocalizeResult:
    options: dict[str, Any] = {
        "geometry": settings.geometry,
        "device": settings.device,
        "weights": settings.weights,
    }
    filming: dict[str, Any] = {**options, "every_s": settings.every_s}
    drawing: dict[str, Any] = {**options, "alpha": settings.alpha, "scales": settings.scales}
    if settings.ids is not None:
        ids = list(dict.fromkeys(read_ids(settings.ids) or []))
        if not ids:
            raise InputError(f"{settings.ids} names no clip")
        cache = Cache(settings.cache)
        from .files import localize_clips, localize_videos  # torch: seconds

        threads = network_threads(settings.threads, settings.device)
        if settings.video:
            with threads:
                return localize_videos(cached_sources(cache, ids), run, settings.out, **filming)
        with threads, watch("localize") as update:
            drawing |= {"annotations": settings.annotations}
            drawing["progress"] = _counted(update, len(ids))
            return localize_clips(ids, cache, run, settings.out, **drawing)
    with ExitStack() as stack:
        candidates = _named(settings, stack)
        from .files import localize_files, localize_videos

        stack.enter_context(network_threads(settings.threads, settings.device))
        if settings.video:
            return localize_videos(candidates, run, settings.out, **filming)
        update = stack.enter_context(watch("localize"))
        drawing["progress"] = _counted(update, len(candidates))
        if settings.sound is None:  # boxes say what sounds in the clip's own sound
            drawing["annotations"] = settings.annotations
        return localize_files(candidates, run, settings.out, **drawing)


def _named(settings: DrawSettings, stack: ExitStack) -> list[Candidate]:
    """Return the clips that the inputs name."""
    found = scan(settings.inputs)
    for line in found.notices:
        note(line)
    candidates = found.candidates
    if settings.sound is not None:
        return stack.enter_context(with_sound(candidates, settings.sound))
    if len(settings.inputs) == 1 and Path(settings.inputs[0]).suffix.lower() in PICTURE_SUFFIXES:
        raise UsageError(f"{settings.inputs[0]} is a picture: name its sound, --sound FILE")
    return candidates


def _counted(update: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Start the bar, and add the total that the pictures' count lacks."""
    update(0, total)
    return lambda done: update(done, total)
