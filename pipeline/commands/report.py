"""The command that tells all of runs on one page."""

from pathlib import Path
from typing import Annotated

import typer

from .. import output as output
from ..options import (
    DEFAULT_CACHE,
    Annotations,
    Benchmark,
    Cache,
    Device,
    Json,
    Paper,
    Protocol,
    ProtocolGeometry,
)
from ..settings import ONE_RUN


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Runs; a folder of seed0, seed1, ... is all of them."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", show_default="RUN/report.html", help="The page, one file."
        ),
        ONE_RUN,
    ] = None,
    cache: Cache = DEFAULT_CACHE,
    benchmark: Benchmark = "synth",
    annotations: Annotations = None,
    protocol: Protocol = "avpipe",
    paper: Paper = None,
    geometry: ProtocolGeometry = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write a page on runs: training, scores, curves, pictures, data, provenance."""
    from ..pages.report.run import ReportSettings, make_report, report_text

    settings = ReportSettings(
        runs=tuple(runs),
        cache=cache,
        out=out,
        annotations=annotations,
        benchmark=benchmark,
        protocol=protocol,
        paper=paper,
        geometry=geometry,
        device=device,
    )
    output.show(make_report(settings), json, report_text)
