"""`avpipe localize`: pictures and films of where sounds come from."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from ...errors import UsageError
from ...machine import AUTO
from ...printable import printable
from ...train.choices import DEFAULT_GEOMETRY, DEFAULT_SCALES, BlendScales
from .. import output
from ..localize import EVERY_S, FILM, PICTURE, STRIP
from ..options import (
    DEFAULT_CACHE,
    PRETRAINED,
    Annotations,
    Cache,
    Device,
    Geometry,
    Json,
    LocalizingRun,
    Threads,
    Weights,
)
from ..output import Document
from ..settings import ONE_RUN, With, Without


def localize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Videos, folders, lists, as extract takes them; or a picture with --sound.",
        ),
        ONE_RUN,
    ] = None,
    run: LocalizingRun = None,
    sound: Annotated[
        Path | None,
        typer.Option(
            "--sound", metavar="FILE", help="What is heard with INPUT, one picture or video."
        ),
        ONE_RUN,
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="LIST", help="Instead of INPUT: clips of the cache."),
        ONE_RUN,
    ] = None,
    cache: Annotated[Cache, With("ids")] = DEFAULT_CACHE,
    annotations: Annotated[Annotations, Without("video"), Without("sound")] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder of pictures and films.")
    ] = Path("localized"),
    alpha: Annotated[
        float,
        typer.Option("--alpha", min=0, max=1, help="Share of the audio-visual map in the blend."),
        Without("video"),
    ] = 0.5,
    blend: Annotated[
        BlendScales,
        typer.Option(
            "--blend",
            help="Scales of the blend's maps: each its own, or SLAVC's fixed ranges (IPOL demo).",
        ),
        Without("video"),
    ] = DEFAULT_SCALES,
    video: Annotated[
        bool,
        typer.Option(
            "--video", help="Films with sound instead of pictures: the map changes with the sound."
        ),
        ONE_RUN,
    ] = False,
    every: Annotated[
        float,
        typer.Option("--every", metavar="S", min=0.01, help="Seconds between two maps of a film."),
        With("video"),
    ] = EVERY_S,
    strip: Annotated[
        bool,
        typer.Option(
            "--strip", help="With --video, of each film a picture too: frames above its sound."
        ),
        ONE_RUN,
    ] = False,
    geometry: Geometry = DEFAULT_GEOMETRY,
    weights: Weights = None,
    device: Device = AUTO,
    threads: Threads = AUTO,
    json: Json = False,
) -> None:
    """Draw where the sound of clips comes from, as pictures or films."""
    if run is None:
        raise UsageError("name the run that localizes: --run DIR")
    if bool(inputs) == bool(ids):
        raise UsageError("name videos to localize, or with --ids clips of the cache")
    if sound is not None and ids is not None:
        raise UsageError("--sound goes with a picture or a video, not with --ids")
    if strip and not video:
        raise UsageError("--strip is of a film: add --video")
    from ...cache.store import Cache
    from ...train.runs.record import read_record
    from ..localize.given import cached_sources, ids_to_draw, named_clips, sound_in_errors
    from ..networks.threads import network_threads
    from ..run_folders import one_run_folder
    from ..watch import watch

    folder = one_run_folder(run, "--run")
    network: dict[str, Any] = {
        "geometry": geometry, "device": device, "weights": tuple(weights or PRETRAINED)
    }  # fmt: skip
    drawing = {**network, "alpha": alpha, "scales": blend}
    endings = [FILM, *([STRIP] if strip else [])] if video else [PICTURE]
    with ExitStack() as stack:
        stack.enter_context(sound_in_errors(sound))
        if ids is not None:
            names, opened = ids_to_draw(ids), Cache(cache)
        else:
            clips = stack.enter_context(named_clips(inputs or [], sound, out, *endings))
        from ...train.runs.intake import fetch_teachers  # torch: no mistyped name waits for it
        from ..localize import files

        if ids is None or video:  # what a cache holds needs no teachers; no trial without them
            fetch_teachers(read_record(folder), network["weights"])
        stack.enter_context(network_threads(threads, device))
        if video:
            clips = cached_sources(opened, names) if ids is not None else clips
            done = files.localize_videos(clips, folder, out, **network, every_s=every, strip=strip)
        elif ids is not None:
            drawing["progress"] = _counted(stack.enter_context(watch("localize")), len(names))
            done = files.localize_clips(
                names, opened, folder, out, **drawing, annotations=annotations
            )
        else:
            drawing["progress"] = _counted(stack.enter_context(watch("localize")), len(clips))
            if sound is None:  # boxes say what sounds in the clip's own sound
                drawing["annotations"] = annotations
            done = files.localize_files(clips, folder, out, **drawing)
    document = {
        "schema": "avpipe.localize/1",
        "pictures": [str(path) for path in done.pictures],
        "videos": [str(path) for path in done.videos],
        "failed": {
            failure.id: f"{failure.reason} {failure.detail}".rstrip() for failure in done.failures
        },
        "notices": done.notices,
    }
    output.show(document, json, localize_text)


def _counted(update: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Start the bar, and add the total that the pictures' count lacks."""
    update(0, total)
    return lambda done: update(done, total)


def localize_text(document: Document) -> str:
    """Render `avpipe localize`."""
    failed = [f"failed  {name}: {why}" for name, why in document["failed"].items()]
    lines = [*failed, *document["notices"], *document["pictures"], *document["videos"]]
    return "\n".join(map(printable, lines))
