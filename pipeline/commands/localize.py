"""The command that shows where sounds come from."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...errors import UsageError
from .. import output
from ..options import (
    DEFAULT_CACHE,
    DEFAULT_THREADS,
    PRETRAINED,
    Annotations,
    Cache,
    Device,
    Geometry,
    Json,
    Threads,
    Weights,
)
from ..settings import ONE_RUN, Example

BlendScales = Literal["minmax", "slavc"]


def localize(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INPUT",
            help="Videos, folders, lists, as extract takes them; or a picture with --sound.",
        ),
        ONE_RUN,
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The run that localizes."),
        Example("runs/first"),
    ] = None,
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
    cache: Cache = DEFAULT_CACHE,
    annotations: Annotations = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder of pictures and films.")
    ] = Path("localized"),
    alpha: Annotated[
        float,
        typer.Option("--alpha", min=0, max=1, help="Share of the audio-visual map in the blend."),
    ] = 0.5,
    blend: Annotated[
        BlendScales,
        typer.Option(
            "--blend",
            help="Scales of the blend's maps: each its own, or SLAVC's fixed ranges (IPOL demo).",
        ),
    ] = "minmax",
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
    ] = 0.5,
    geometry: Geometry = "rf-centred",
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = DEFAULT_THREADS,
    json: Json = False,
) -> None:
    """Draw where the sound of clips comes from, as pictures or films."""
    if run is None:
        raise UsageError("name the run that localizes: --run DIR")
    if bool(inputs) == bool(ids):
        raise UsageError("name videos to localize, or with --ids clips of the cache")
    if sound is not None and ids is not None:
        raise UsageError("--sound goes with a picture or a video, not with --ids")
    from ..localize.run import DrawSettings, draw

    settings = DrawSettings(
        inputs=tuple(str(path) for path in inputs or []),
        ids=ids,
        cache=cache,
        run=run,
        out=out,
        annotations=annotations,
        alpha=alpha,
        scales=blend,
        geometry=geometry,
        device=device,
        threads=threads,
        weights=tuple(weights or PRETRAINED),
        sound=sound,
        video=video,
        every_s=every,
    )
    output.show(draw(settings), json, output.localize_text)
