"""`avpipe evaluate`: runs are scored on a benchmark."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...errors import UsageError
from ...machine import AUTO
from ...train.choices import DEFAULT_BENCHMARK, DEFAULT_PROTOCOL, MAPS_AT_A_TIME, Branch, Head
from .. import output
from ..options import (
    DEFAULT_CACHE,
    Annotations,
    BatchSize,
    Benchmark,
    Cache,
    Device,
    Json,
    Paper,
    Protocol,
    ProtocolGeometry,
    Runs,
    Threads,
)
from ..settings import ONE_RUN, With, Without

Format = Literal["text", "latex", "markdown", "csv"]


def evaluate(
    runs: Runs,
    cache: Cache = DEFAULT_CACHE,
    benchmark: Benchmark = DEFAULT_BENCHMARK,
    annotations: Annotations = None,
    protocol: Protocol = DEFAULT_PROTOCOL,
    paper: Paper = None,
    alpha: Annotated[
        str | None,
        typer.Option(
            "--alpha",
            metavar="A,A,...",
            show_default="the protocol's",
            help="Share of the audio-visual map in the blend; several make a table.",
        ),
        ONE_RUN,
    ] = None,
    branch: Annotated[
        Branch | None,
        typer.Option(
            "--branch", show_default="the recipe's", help="Which of a run's weights are tested."
        ),
        ONE_RUN,
    ] = None,
    head: Annotated[
        Head | None,
        typer.Option(
            "--head", show_default="the mean of all", help="Which of SLAVC's heads makes the maps."
        ),
        ONE_RUN,
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="LIST", help="Test only the clips of this list or CSV."),
        ONE_RUN,
    ] = None,
    predicted: Annotated[
        str | None,
        typer.Option(
            "--predicted",
            metavar="S,S,...",
            help="Shares of the pixels to predict, scored beside the half.",
        ),
        ONE_RUN,
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="C,C,...",
            help="Values of cIoU from which on a source counts as found, scored beside 0.5.",
        ),
        ONE_RUN,
    ] = None,
    negatives: Annotated[
        str | None,
        typer.Option(
            "--negatives",
            metavar="KIND,...",
            help="Sounds of nothing in the picture, tested beside: silence, noise, offscreen, own.",
        ),
        ONE_RUN,
    ] = None,
    negatives_seed: Annotated[
        int,
        typer.Option("--negatives-seed", min=0, help="Of what is drawn for --negatives."),
        ONE_RUN,
        With("negatives"),
    ] = 0,
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap", metavar="N", min=0, help="Draws of the clips, for 95 % intervals."
        ),
        ONE_RUN,
    ] = 0,
    copies: Annotated[
        bool,
        typer.Option(
            "--copies", help="Look for test clips that were trained on under other names."
        ),
        ONE_RUN,
    ] = False,
    training_cache: Annotated[
        Path | None,
        typer.Option(
            "--training-cache",
            metavar="DIR",
            show_default="--cache",
            help="Where --copies finds the clips trained on.",
        ),
        ONE_RUN,
        With("copies"),
    ] = None,
    format: Annotated[
        Format,
        typer.Option("--format", help="How the table is written."),
        ONE_RUN,
        Without("json"),
    ] = "text",
    bold: Annotated[
        bool, typer.Option("--bold", help="The best of each column in bold."), ONE_RUN
    ] = False,
    geometry: ProtocolGeometry = None,
    device: Device = AUTO,
    threads: Threads = AUTO,
    batch_size: BatchSize = MAPS_AT_A_TIME,
    json: Json = False,
) -> None:
    """Score runs on a benchmark, beside what needs no sound."""
    from ...cache.store import Cache
    from ...train.negatives.asked import parse_kinds
    from ...train.score.sweeps import Sweeps
    from ..id_lists import read_ids_to_take
    from ..networks.threads import network_threads
    from ..run_folders import run_folders
    from ..scoring import copy_search, mark_random, require_truth
    from ..watch import watch

    alphas = parse_shares(alpha, "--alpha")
    sweeps = Sweeps(
        parse_shares(predicted, "--predicted", positive=True),
        parse_shares(at, "--at", positive=True),
    )
    asked, written = parse_kinds(negatives, negatives_seed), writer(format, bold)
    folders, opened = run_folders(runs), Cache(cache)
    truth = require_truth(benchmark, annotations, protocol, paper, sweeps, asked)
    find_copies = copy_search(opened, training_cache, copies)
    taken = read_ids_to_take(ids)
    from ...train.score import evaluate as scores  # torch: no mistyped name has to wait for it

    with network_threads(threads, device), watch("maps", unit="maps") as progress:
        document = scores.evaluate(
            folders, opened, annotations=truth, benchmark=benchmark, protocol=protocol,
            paper=paper, geometry=geometry, alphas=alphas, branch=branch, head=head, ids=taken,
            sweeps=sweeps, negatives=asked, bootstrap=bootstrap, find_copies=find_copies,
            device=device, batch_size=batch_size, progress=progress,
        )  # fmt: skip
    output.show(mark_random(document), json, written)


def writer(how: Format, bold: bool) -> Callable[[output.Document], str]:
    """Return what writes the result.

    Raises:
        UsageError: Bold is asked of a format that has none.
    """
    from ...train.score.table import evaluate_text
    from ...train.tables.formats import formatted

    if bold and how not in ("latex", "markdown"):
        raise UsageError(f"--bold goes with --format latex or markdown, not with {how}")
    if how == "text":
        return evaluate_text
    return lambda document: formatted(document, how, bold=bold)


def parse_shares(text: str | None, option: str, *, positive: bool = False) -> tuple[float, ...]:
    """Parse the numbers of an option, `0.4` or `0.2,0.4,0.6`.

    Args:
        text: What was given.
        option: Its name.
        positive: Whether 0 is none of them.

    Raises:
        UsageError: Not numbers from 0 to 1, or one comes twice.
    """
    try:
        shares = [float(word) for word in text.split(",")] if text else []
    except ValueError:
        shares = [-1]
    if not all((share > 0 if positive else share >= 0) and share <= 1 for share in shares):
        least = "above 0 and at most 1" if positive else "from 0 to 1"
        raise UsageError(f"{option} {text}: should be numbers {least}, as in 0.4 or 0.2,0.4,0.6")
    if len(set(shares)) < len(shares):
        raise UsageError(f"{option} {text}: a number comes twice")
    return tuple(shares)
