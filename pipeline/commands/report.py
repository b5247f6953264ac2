"""`avpipe report`: all that is known of runs, on one page."""

from pathlib import Path
from typing import Annotated

import typer

from ...machine import AUTO
from ...train.choices import DEFAULT_BENCHMARK, DEFAULT_PROTOCOL
from .. import output
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
    Runs,
)
from ..settings import ONE_RUN, With

_SCORES = With("annotations")


def report(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", show_default="RUN/report.html", help="The page, one file."
        ),
        ONE_RUN,
    ] = None,
    cache: Cache = DEFAULT_CACHE,
    benchmark: Annotated[Benchmark, _SCORES] = DEFAULT_BENCHMARK,
    annotations: Annotations = None,
    protocol: Annotated[Protocol, _SCORES] = DEFAULT_PROTOCOL,
    paper: Annotated[Paper, _SCORES] = None,
    geometry: Annotated[ProtocolGeometry, _SCORES] = None,
    device: Device = AUTO,
    json: Json = False,
) -> None:
    """Write a page on runs: training, scores, curves, pictures, data, provenance."""
    from ...cache.store import Cache
    from ...train.runs.made_by import note
    from ..pages.cards.run import check_name
    from ..pages.report.run import make_report, report_text
    from ..run_folders import run_folders
    from ..scoring import mark_random, require_truth

    folders, page = run_folders(runs), out or runs[0] / "report.html"
    check_name(page, ".html")
    evaluation = None
    if annotations is not None:
        opened = Cache(cache)
        require_truth(benchmark, annotations, protocol, paper)
        from ...train.score import evaluate as scores  # torch: no mistyped name has to wait for it
        from ..networks.threads import network_threads
        from ..watch import watch

        with network_threads(AUTO, device), watch("maps", unit="maps") as progress:
            evaluation = scores.evaluate(
                folders, opened, annotations=annotations, benchmark=benchmark, protocol=protocol,
                paper=paper, geometry=geometry, device=device, progress=progress,
            )  # fmt: skip
        mark_random(evaluation)
    document = make_report(folders, cache, page, evaluation, annotations, device)
    if page.resolve().parent == runs[0].resolve():
        note(runs[0], page.name, arguments=[str(one) for one in runs[1:]])
    output.show(document, json, report_text)
