"""`avpipe demo`: the whole way on synthetic clips, in one command."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...machine import AUTO
from ..demo import FULL, SHORT
from ..options import Threads
from ..settings import ONE_RUN

Knowledge = Literal["random", "pretrained"]


def demo(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to fill."), ONE_RUN] = Path(
        "demo-out"
    ),
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help=f"Train on {FULL.clips} clips and run DETR and PANNs on all of them.",
        ),
        ONE_RUN,
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", min=0, help="Of world and training."), ONE_RUN
    ] = 0,
    clips: Annotated[
        int | None,
        typer.Option(
            "--clips", metavar="N", min=64, help="Training clips; test is 30 % more.",
            show_default=f"{SHORT.clips}, {FULL.clips} with --full",
        ),
        ONE_RUN,
    ] = None,
    weights: Annotated[
        Knowledge,
        typer.Option("--weights", help="What the teachers know; pretrained files are fetched."),
        ONE_RUN,
    ] = "random",
    threads: Threads = AUTO,
) -> None:  # fmt: skip
    """Go the whole way on synthetic clips, from videos to scores and pictures."""
    from ..demo.run import demo

    extent = FULL if full else SHORT
    demo(
        out, seed=seed, extent=replace(extent, clips=clips or extent.clips), threads=threads,
        weights=weights,
    )  # fmt: skip
