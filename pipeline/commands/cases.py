"""The command that shows a run what is hard."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UsageError
from .. import output
from ..options import PRETRAINED, Annotations, Device, Geometry, Json, Weights
from ..settings import ONE_RUN, Example


def cases(
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The run that localizes."),
        Example("runs/first"),
    ] = None,
    annotations: Annotations = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="For the clips, cases.html and cases.png."),
        ONE_RUN,
    ] = Path("cases"),
    each: Annotated[
        int, typer.Option("--n", metavar="N", min=1, max=20, help="Clips of each case."), ONE_RUN
    ] = 3,
    geometry: Geometry = "rf-centred",
    weights: Weights = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Show what a run makes of mixtures, small, silent, off-screen and several objects."""
    if run is None:
        raise UsageError("name the run that localizes: --run DIR")
    from ..pages.cases.run import CasesSettings, cases_text, make_gallery

    settings = CasesSettings(
        annotations, run, out, each, geometry, device, tuple(weights or PRETRAINED)
    )
    output.show(make_gallery(settings), json, cases_text)
