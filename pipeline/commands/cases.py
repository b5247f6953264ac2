"""`avpipe cases`: what a run makes of what is hard."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UsageError
from ...machine import AUTO
from ...train.choices import DEFAULT_GEOMETRY
from .. import output
from ..options import PRETRAINED, Annotations, Device, Geometry, Json, LocalizingRun, Weights
from ..settings import ONE_RUN


def cases(
    run: LocalizingRun = None,
    annotations: Annotations = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="For the clips, cases.html and cases.png."),
        ONE_RUN,
    ] = Path("cases"),
    each: Annotated[
        int, typer.Option("--n", metavar="N", min=1, max=20, help="Clips of each case."), ONE_RUN
    ] = 3,
    geometry: Geometry = DEFAULT_GEOMETRY,
    weights: Weights = None,
    device: Device = AUTO,
    json: Json = False,
) -> None:
    """Show what a run makes of mixtures, small, silent, off-screen and several objects."""
    if run is None:
        raise UsageError("name the run that localizes: --run DIR")
    from ...stages.synth.case_worlds import open_world
    from ..pages.cases.run import cases_text, make_gallery
    from ..run_folders import one_run_folder

    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder: name one with --out")
    folder = one_run_folder(run, "--run")
    if annotations is None:
        raise UsageError("name the folder of synth that the run was trained in: --annotations DIR")
    world = open_world(annotations)
    from ...train.runs.localizer import load_run  # torch: no mistyped name has to wait for it

    localizer = load_run(folder, device, weights=tuple(weights or PRETRAINED))
    document = make_gallery(localizer, world, run, out, each=each, geometry=geometry)
    output.show(document, json, cases_text)
