"""Options that several commands share, each defined once."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .settings import ONE_RUN, Example


def usable_cores() -> int:
    """Count the CPU cores this process may use; a batch system may grant fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


DEFAULT_CACHE = Path("avcache")
ALL_CORES = usable_cores()

Cache = Annotated[
    Path,
    typer.Option("--cache", metavar="DIR", envvar="AVPIPE_CACHE", help="The cache's folder."),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        envvar="AVPIPE_JOBS",
        show_default="all cores",
        help="Worker processes.",
    ),
    Example(8),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON."), ONE_RUN]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; write nothing."), ONE_RUN
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Make the stage again if its parameters changed."),
    ONE_RUN,
]
