"""Commands that train localizers and use them."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import output
from ..options import (
    DEFAULT_CACHE,
    DEFAULT_THREADS,
    PRETRAINED,
    Annotations,
    BatchSize,
    Benchmark,
    Cache,
    Device,
    HoldOut,
    Ids,
    Json,
    Paper,
    Protocol,
    ProtocolGeometry,
    Threads,
    Weights,
)
from ..settings import ONE_RUN, Example

Data = Literal["auto", "resident", "stream"]
Branch = Literal["online", "momentum", "ema"]
Head = Literal["localization", "correspondence"]


def train(
    cache: Cache = DEFAULT_CACHE,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME|FILE", help="How to learn; a name or a TOML.")
    ] = "compact",
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="DIR", show_default="runs/<recipe>", help="The run's folder."
        ),
        Example("runs/first"),
    ] = None,
    ids: Ids = None,
    hold_out: HoldOut = None,
    val_ids: Annotated[
        Path | None,
        typer.Option(
            "--val-ids",
            metavar="LIST",
            help="Leave these out, and write their loss after each epoch; it chooses nothing.",
        ),
        Example("val.txt"),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="S,S,...",
            show_default="DIR itself, of seed 0",
            help="One run each: DIR/seed0, ...",
        ),
        Example("0,1,2"),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace a value of the recipe; may be repeated."
        ),
        Example(["epochs=40"]),
    ] = None,
    data: Annotated[
        Data, typer.Option("--data", help="Hold the clips in memory, or read them as needed.")
    ] = "auto",
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = DEFAULT_THREADS,
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", help="Say which recipes there are."), ONE_RUN
    ] = False,
    json: Json = False,
) -> None:
    """Train a localizer from the cache; run it again to resume."""
    if list_recipes:
        from ...train.recipe import list_recipes as recipes

        output.show({"schema": "avpipe.recipes/1", **recipes()}, json, output.fields_text)
        return
    from ..training import TrainSettings, train_runs

    settings = TrainSettings(
        cache=cache,
        recipe=recipe,
        run=run,
        ids=ids,
        hold_out=hold_out,
        val_ids=val_ids,
        seeds=seeds,
        overrides=tuple(set or ()),
        data=data,
        device=device,
        threads=threads,
        weights=tuple(weights or PRETRAINED),
    )
    document = train_runs(settings, output.note)
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts
        output.show(document, json, output.train_text)


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Runs; a folder of seed0, seed1, ... is all of them."),
    ],
    cache: Cache = DEFAULT_CACHE,
    benchmark: Benchmark = "synth",
    annotations: Annotations = None,
    protocol: Protocol = "avpipe",
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
    geometry: ProtocolGeometry = None,
    device: Device = "auto",
    threads: Threads = DEFAULT_THREADS,
    batch_size: BatchSize = 64,
    json: Json = False,
) -> None:
    """Score runs on a benchmark, beside what needs no sound."""
    from ...train.score.table import evaluate_text
    from ..training import EvaluateSettings, evaluate_runs, parse_alphas, parse_shares

    document = evaluate_runs(
        EvaluateSettings(
            runs=tuple(runs),
            cache=cache,
            annotations=annotations,
            benchmark=benchmark,
            protocol=protocol,
            paper=paper,
            geometry=geometry,
            alphas=parse_alphas(alpha),
            branch=branch,
            head=head,
            ids=ids,
            predicted=parse_shares(predicted, "--predicted", positive=True),
            levels=parse_shares(at, "--at", positive=True),
            device=device,
            threads=threads,
            batch_size=batch_size,
        )
    )
    output.show(document, json, evaluate_text)
