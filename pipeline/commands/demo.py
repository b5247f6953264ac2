"""`avpipe demo`: the whole way on synthetic clips, in one command."""

from pathlib import Path
from typing import Annotated

import typer

from ...machine import AUTO
from ..demo import NUM_CLIPS
from ..options import Threads
from ..settings import ONE_RUN


def demo(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to fill."), ONE_RUN] = Path(
        "demo-out"
    ),
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", min=0, help="Of world and training."), ONE_RUN
    ] = 0,
    clips: Annotated[
        int,
        typer.Option("--clips", metavar="N", min=64, help="Training clips; test is 30 % more."),
        ONE_RUN,
    ] = NUM_CLIPS,
    threads: Threads = AUTO,
) -> None:
    """Go the whole way on synthetic clips, from videos to scores and pictures."""
    from ..demo.run import demo

    demo(out, seed=seed, clips=clips, threads=threads)
