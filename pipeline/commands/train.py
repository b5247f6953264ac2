"""`avpipe train`: a recipe and a cache become runs, one for each seed."""

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UsageError
from ...machine import AUTO, parse_threads
from ...train.choices import DEFAULT_RECIPE, DataMode
from .. import output
from ..options import (
    DEFAULT_CACHE,
    MOST_SEED,
    PRETRAINED,
    Cache,
    Device,
    HoldOut,
    Ids,
    Json,
    Threads,
    Weights,
)
from ..output import Document, percent, table, weights_text
from ..settings import ONE_RUN, Example

if TYPE_CHECKING:
    from ...train.loop import TrainResult
    from ...train.runs.journal import TrainProgress
    from ..watch import Update

RUNS = Path("runs")


def train(
    cache: Cache = DEFAULT_CACHE,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME|FILE", help="How to learn; a name or a TOML.")
    ] = DEFAULT_RECIPE,
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
        DataMode, typer.Option("--data", help="Hold the clips in memory, or read them as needed.")
    ] = AUTO,
    weights: Weights = None,
    device: Device = AUTO,
    threads: Threads = AUTO,
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
    from ...cache.store import Cache
    from ...train.recipe import load_recipe
    from ..id_lists import hold_out_notices, read_ids, read_ids_to_take
    from ..watch import watch

    how = load_recipe(recipe, tuple(set or ()))
    opened = Cache(cache)
    taken, held_out, validation = read_ids_to_take(ids), read_ids(hold_out) or [], read_ids(val_ids)
    run_dirs = folders_of_seeds(run or RUNS / Path(recipe).stem, seeds)
    notices = hold_out_notices(hold_out, held_out, opened.ids)
    for line in notices:
        output.note(line)
    from ...train import loop  # torch: seconds, which no mistyped name has to wait for

    runs = []
    for seed, run_dir in run_dirs.items():
        with watch(f"train {run_dir}", unit="steps") as update:
            result = loop.train(
                opened, how, run_dir, recipe_name=Path(recipe).stem, seed=seed, ids=taken,
                hold_out=held_out, val_ids=validation, data=data, device=device,
                threads=parse_threads(threads) or "auto", weights=tuple(weights or PRETRAINED),
                progress=_shown(update, run_dir), notify=output.note,
            )  # fmt: skip
        runs.append(_run_json(result, seed))
        notices += [line for line in result.notices if line not in notices]
    document = {
        "schema": "avpipe.train/1",
        "recipe": recipe,
        "runs": runs,
        "mean": _over_runs(runs, statistics.fmean),
        "std": _over_runs(runs, statistics.stdev) if len(runs) > 1 else None,
        "notices": notices,
    }
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts
        output.show(document, json, train_text)


def folders_of_seeds(run: Path, text: str | None) -> dict[int, Path]:
    """Return the run folder of each seed: those that are named lie in the run's folder.

    Without a name the run is the folder itself. It stays so when its seed is named later.

    Args:
        run: As `--run` names it.
        text: As `--seeds` names them; None: one run, of seed 0.

    Raises:
        UsageError: The seeds are no whole numbers, one comes twice, several would lie in
            the folder of one run, or a file or a cache is there.
    """
    from ...train.runs.record import is_cache, read_record

    if run.is_file():
        raise UsageError(f"{run} is a file; --run names a folder")
    if is_cache(run):
        raise UsageError(f"{run} is a cache; name another folder with --run")
    seeds = [0] if text is None else parse_seeds(text)
    if text is None and not any(run.glob("seed*/run.json")):
        return {0: run}
    if (run / "run.json").exists():
        if seeds == [read_record(run).seed]:
            return {seeds[0]: run}
        raise UsageError(f"{run} is one run; name another folder for seeds with --run")
    return {seed: run / f"seed{seed}" for seed in seeds}


def parse_seeds(text: str) -> list[int]:
    """Parse `--seeds 0,1,2`.

    Raises:
        UsageError: Not of that form, a seed is too large, or one comes twice.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise UsageError(f"--seeds {text}: should be whole numbers, as in 0,1,2")
    seeds = [int(word) for word in words]
    if max(seeds) > MOST_SEED:
        raise UsageError(f"--seeds {text}: a seed is at most {MOST_SEED}")
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: a seed comes twice")
    return seeds


def _over_runs(
    runs: Sequence[dict[str, Any]], what: Callable[[list[float]], float]
) -> dict[str, float | None]:
    """Return mean or deviation of the losses; None where a run has none."""
    columns = {name: [run[name] for run in runs] for name in ("loss", "val_loss")}
    return {name: None if None in values else what(values) for name, values in columns.items()}


def _shown(update: "Update", run_dir: Path) -> Callable[["TrainProgress"], None]:
    """Show steps, the epoch and the loss; steps of an earlier call are no work of this one."""
    from ...train.runs.checkpoint import latest_checkpoint

    found = latest_checkpoint(run_dir)
    before = [found[1] if found else 0]

    def show(progress: "TrainProgress") -> None:
        while before:
            update(before.pop(), progress.num_steps)
        note = f"epoch {progress.epoch}/{progress.num_epochs}, loss {progress.loss:.3f}"
        update(progress.step, progress.num_steps, note=note)

    return show


def _run_json(result: "TrainResult", seed: int) -> dict[str, Any]:
    from ...train.runs.metric_lines import last_loss
    from ...train.runs.record import read_record

    steps = result.num_steps - result.first_step
    record = read_record(result.run_dir)
    return {
        "run": str(result.run_dir),
        "seed": seed,
        "clips": len(record.ids),
        "batch_size": record.batch_size,
        "num_steps": result.num_steps,
        "done": steps,
        "skipped": result.first_step,
        "loss": last_loss(result.run_dir / "metrics.jsonl"),
        "val_loss": last_loss(result.run_dir / "validation.jsonl"),
        "weights": record.image_weights,
        "seconds": round(result.seconds, 3),
        "waited_s": round(result.waited_s, 3),
        "per_second": round(steps / result.seconds, 3) if steps else 0.0,
    }


def train_text(document: Document) -> str:
    """Render `avpipe train`: a line for each run; several have a mean and a deviation."""
    losses = ["loss", "val_loss"] if document["mean"]["val_loss"] is not None else ["loss"]

    def shown(one: Document) -> list[str]:
        return ["-" if one[name] is None else f"{one[name]:.3f}" for name in losses]

    names = [name.replace("_", " ") for name in losses]
    head = ("run", "seed", "clips", "batch", "steps", "done now", *names, "steps/s")
    rows = []
    for run in document["runs"]:
        counts = [run[key] for key in ("seed", "clips", "batch_size", "num_steps", "done")]
        rows.append((run["run"], *counts, *shown(run), f"{run['per_second']:.1f}"))
    if document["std"]:
        rows += [(name, *[""] * 5, *shown(document[name]), "") for name in ("mean", "std")]
    labels = [
        f"{run['run']} began with {weights_text(run['weights'])}"
        for run in document["runs"]
        if run["weights"]
    ]
    waits = [
        f"{run['run']} waited for clips {percent(run['waited_s'] / run['seconds'])} of its time"
        for run in document["runs"]
        if run["done"] and run.get("waited_s") is not None and not document["std"]
    ]
    return "\n".join([table(head, rows), *waits, *labels])
