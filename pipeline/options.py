"""Options that several commands share, each defined once."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..cache.advice import DEFAULT_CACHE as DEFAULT_CACHE
from ..cores import AUTO, granted_cores, parse_threads
from ..errors import UsageError
from .settings import ONE_RUN, Example


def checked(check: Callable[[Any], object]) -> Callable[[Any], Any]:
    """Make an option's callback of a check, so that an error names the file a bad value is from.

    Args:
        check: Raises UsageError for values that do not fit; is not asked about None.
    """

    def callback(value: Any) -> Any:
        try:
            if value is not None:
                check(value)
        except UsageError as error:
            raise typer.BadParameter(str(error)) from error
        return value

    return callback


PRETRAINED = ("pretrained",)
"""What `--weights` is when it is not given."""
ALL_CORES = granted_cores()
Geometries = Literal["rf-centred", "cell-centred", "corners"]

Cache = Annotated[
    Path,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="AVPIPE_CACHE",
        readable=False,  # a folder that may not be read is no typing error
        help="The cache's folder.",
    ),
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
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="AVPIPE_DEVICE",
        help="auto (a GPU where there is one), cpu, cuda, cuda:1.",
    ),
]
DEFAULT_THREADS = AUTO
Threads = Annotated[
    str,
    typer.Option(
        "--threads",
        metavar="auto|N",
        callback=checked(parse_threads),
        help="CPU threads of a network; auto tries one and all, and takes what is faster.",
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="WEIGHTS",
        show_default="pretrained",
        help="pretrained, random (for tests and demos), a FOLDER, or NAME= one of these or a FILE "
        "for one network; may be repeated.",
    ),
    Example(["random"]),
]
Ids = Annotated[
    Path | None,
    typer.Option("--ids", metavar="LIST", help="Take only the clips of this list or CSV."),
    Example("train.txt"),
]
HoldOut = Annotated[
    Path | None,
    typer.Option("--hold-out", metavar="LIST", help="Leave out the clips of this list or CSV."),
    Example("test.txt"),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", metavar="N", min=1, help="Clips that a network takes at a time."),
]
Annotations = Annotated[
    Path | None,
    typer.Option(
        "--annotations",
        metavar="PATH",
        help="Where the true boxes are; of synthetic clips, the folder that synth made.",
    ),
    Example("synth"),
]
Geometry = Annotated[
    Geometries,
    typer.Option(
        "--geometry",
        help="Where a map's cells lie: at the centres of their receptive fields, or spread evenly.",
    ),
]
Benchmark = Annotated[
    str,
    typer.Option(
        "--benchmark",
        metavar="NAME",
        help="What is scored: synth, vggss, vggss-extended, vggss-heard, vggss-unheard, flickr, "
        "flickr-extended, retrieval.",
    ),
]
Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="How it is scored: avpipe, slavc, ez-vsl, ssl-alignment, lvs, paper.",
    ),
]
Paper = Annotated[
    str | None,
    typer.Option(
        "--paper", metavar="NAME", help="Of protocol paper, whose: slavc, alignment, avc."
    ),
    Example("slavc"),
]
ProtocolGeometry = Annotated[
    Geometries | None,
    typer.Option(
        "--geometry",
        show_default="the protocol's",
        help="Where a map's cells lie: at the centres of their receptive fields, or spread.",
    ),
    Example("corners"),
]
