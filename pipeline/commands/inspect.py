"""The command that shows single clips."""

from pathlib import Path
from typing import Annotated

import typer

from .. import report
from ..options import DEFAULT_CACHE, Cache, Json
from ..settings import ONE_RUN


def inspect(
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="A clip to draw; may be repeated."),
        ONE_RUN,
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--n", metavar="N", min=1, max=100, help="Without --id: clips from all over the cache."
        ),
        ONE_RUN,
    ] = 3,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The picture, a PNG."), ONE_RUN
    ] = Path("inspect.png"),
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="CSV",
            help="Names for the tags: AudioSet's class_labels_indices.csv.",
        ),
        ONE_RUN,
    ] = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="List the clips that failed; draw nothing."), ONE_RUN
    ] = False,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
) -> None:
    """Draw clips with all the cache knows of them: hint, tags, neighbours."""
    from ..inspect import InspectSettings, inspect, list_failures

    if failures:
        report.show(list_failures(cache), json, report.failures_text)
        return
    settings = InspectSettings(cache, tuple(ids or ()), count, out, labels)
    report.show(inspect(settings), json, report.inspect_text)
