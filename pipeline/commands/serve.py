"""`avpipe serve`: a run in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UsageError
from ...machine import AUTO
from .. import output
from ..options import PRETRAINED, Device, Weights
from ..settings import HUB, ONE_RUN, Example


def serve(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", show_default=False, help="The run's folder, or hf://USER/RUN."
        ),
        Example("runs/first"),
        HUB,
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="Also show the clips of this cache that are most alike."
        ),
        ONE_RUN,
    ] = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 for any free one.")
    ] = 7860,
    weights: Weights = None,
    device: Device = AUTO,
) -> None:
    """Show a run in the browser: a picture and a sound, or a clip, become heat maps."""
    if run is None:
        raise UsageError("name the run to show: avpipe serve RUN")
    from ..pages.serve.run import serve

    def ready(address: str) -> None:
        output.note("the page is on this computer alone; Ctrl-C ends it")
        print(address, flush=True)

    serve(
        run, cache, port=port, device=device, weights=tuple(weights or PRETRAINED), ready=ready,
        notify=output.note,
    )  # fmt: skip
