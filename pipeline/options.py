"""Options that several commands share, each defined once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..advice import DEFAULT_CACHE as DEFAULT_CACHE
from ..cache.defaults import WHOLE, Part
from ..errors import UsageError
from ..machine import granted_cores, parse_threads
from ..train.choices import Geometry as GeometryName
from .part_names import names_in
from .settings import HUB, ONE_RUN, Example, Shared, Without


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


def parse_part(text: str) -> Part:
    """Parse `--part i/n` into (i, n), i from 0.

    Raises:
        UsageError: not of that form, or i is not below n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise UsageError(f"--part {text}: should be i/n with i from 0 to n - 1, as in 0/8")
    return int(match[1]), int(match[2])


def part_of(text: str | None) -> Part:
    """Return the part that an option names; without one, all.

    Raises:
        UsageError: as `parse_part` does.
    """
    return parse_part(text) if text else WHOLE


def shared_weights(context: typer.Context, specs: list[str] | None) -> list[str] | None:
    """Mark weights that stand above all tables of a settings file, where every command reads them.

    Those of a network that a run does not have are left out there; here the name must be one that
    some command has.
    """
    if not specs or not isinstance((context.default_map or {}).get("weights"), Shared):
        return specs
    source = context.get_parameter_source("weights")
    if source is None or source.name != "DEFAULT_MAP":
        return specs
    from ..stages.teachers.protocol import networks
    from ..weights import SharedSpec

    known = networks()
    for spec in specs:
        name, sign, _ = spec.partition("=")
        if sign and "/" not in name and name not in known:
            raise typer.BadParameter(f"{spec!r}: no network is called {name!r}: {', '.join(known)}")
    return [SharedSpec(spec) for spec in specs]


def inputs_argument(text: str) -> Any:
    """Return the argument INPUT of commands that take what `extract` takes; `text` is its help."""
    return typer.Argument(
        metavar="INPUT",
        show_default="what the cache has planned already",
        readable=False,
        help=text,
    )


PRETRAINED = ("pretrained",)
"""What `--weights` is when it is not given."""
MOST_SEED = 2**31 - 1
"""Torch's generators end not far above."""
ALL_CORES = granted_cores()

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
if TYPE_CHECKING:
    BackendName = str
else:  # the files of stages/workers/runners, looked at but not imported
    BackendName = Literal[tuple(names_in("stages/workers/runners"))]
Backend = Annotated[
    BackendName, typer.Option("--backend", help="Who runs the workers; dask and ray: a cluster.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDR",
        help="Address of the cluster, such as tcp://HOST:8786 (dask) or HOST:6379 (ray).",
    ),
    Example("tcp://localhost:8786"),
]


def _starts_no_workers(jobs: int, backend: str) -> bool:
    """Whether a backend is asked for more workers than it ever starts."""
    from ..stages.workers.runners import load_engine

    return jobs > 1 and not load_engine(backend).TAKES_JOBS


IF_TAKEN = Without("backend", when=_starts_no_workers)
"""Marks `--jobs` of a command that has `--backend`."""
NetworkJobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        help="Worker processes of networks; on GPUs one for each GPU, at most. 1: this process.",
    ),
    ONE_RUN,  # `jobs` of a settings file speaks of decoding
    IF_TAKEN,
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
PartOption = Annotated[
    str | None,
    typer.Option("--part", metavar="I/N", help="Every N-th shard, from the I-th; I from 0."),
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
        callback=shared_weights,
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
    GeometryName,
    typer.Option(
        "--geometry",
        help="Where a map's cells lie: at the centres of their receptive fields, or spread evenly.",
    ),
]
LocalizingRun = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="The run that localizes, a folder or hf://USER/RUN."),
    Example("runs/first"),
    HUB,
]
Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Runs; a folder of seed0, seed1, ... is all of them."),
]
Benchmark = Annotated[
    str,
    typer.Option(
        "--benchmark",
        metavar="NAME",
        help=f"What is scored: {', '.join(names_in('train/benchmarks'))}.",
    ),
]
Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="How it is scored: avpipe, slavc, ez-vsl, ssl-alignment, lvs, avgn, avsbench, paper.",
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
    GeometryName | None,
    typer.Option(
        "--geometry",
        show_default="the protocol's",
        help="Where a map's cells lie: at the centres of their receptive fields, or spread.",
    ),
    Example("corners"),
]
