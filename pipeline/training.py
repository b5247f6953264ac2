"""`avpipe train` and `avpipe evaluate`: seeds become run folders, run folders a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache.store import Cache
from ..errors import InputError, UsageError
from ..machine import AUTO, parse_threads
from ..train.benchmarks import load_benchmark, require_benchmark
from ..train.recipe import load_recipe
from ..train.runs.checkpoint import latest_checkpoint
from ..train.runs.record import is_cache, no_run, read_page
from ..train.score.protocols import load_protocol
from ..train.score.sweeps import Sweeps
from ..weights import PRETRAINED, RANDOM
from .id_lists import hold_out_notices, read_ids, read_ids_to_take
from .output import weights_text
from .threads import network_threads
from .watch import Update, watch

if TYPE_CHECKING:
    from ..train.data.batches import DataMode
    from ..train.loop import TrainResult
    from ..train.nets.geometry import Geometry
    from ..train.runs.journal import Progress

RUNS = Path("runs")
MOST_SEED = 2**31 - 1
"""As `cluster` and `synth` take it; torch's generators end not far above."""


@dataclass(frozen=True)
class TrainSettings:
    """Everything `train` can be told."""

    cache: Path
    recipe: str
    run: Path | None = None
    """None: `runs/<recipe>`."""
    ids: Path | None = None
    hold_out: Path | None = None
    val_ids: Path | None = None
    seeds: str | None = None
    """None: one run, of seed 0."""
    overrides: tuple[str, ...] = ()
    data: DataMode = "auto"
    device: str = "auto"
    threads: str = AUTO
    weights: tuple[str, ...] = (PRETRAINED,)

    def run_dirs(self) -> dict[int, Path]:
        """Return the run folder of each seed: those that are named lie in the run's folder.

        Without a name the run is the folder itself. It stays so when its seed is named later.

        Raises:
            UsageError: The seeds are no whole numbers, one comes twice, several would lie in
                the folder of one run, or a file or a cache is there.
        """
        run = self.run or RUNS / Path(self.recipe).stem
        if run.is_file():
            raise UsageError(f"{run} is a file; --run names a folder")
        if is_cache(run):
            raise UsageError(f"{run} is a cache; name another folder with --run")
        seeds = [0] if self.seeds is None else parse_seeds(self.seeds)
        if self.seeds is None and not any(run.glob("seed*/run.json")):
            return {0: run}
        if (run / "run.json").exists():
            if seeds == [read_page(run).seed]:
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


def train_runs(settings: TrainSettings, notify: Callable[[str], None]) -> dict[str, Any]:
    """Train one run for each seed; return the `avpipe.train/1` document.

    Args:
        settings: What to train.
        notify: Called with each notice at once.

    Raises:
        Errors as `train.loop.train` does.
    """
    recipe = load_recipe(settings.recipe, settings.overrides)
    cache = Cache(settings.cache)
    ids, hold_out = read_ids_to_take(settings.ids), read_ids(settings.hold_out) or []
    val_ids = read_ids(settings.val_ids)
    run_dirs = settings.run_dirs()
    notices = hold_out_notices(settings.hold_out, hold_out, cache.ids)
    for line in notices:
        notify(line)
    from ..train.loop import train  # torch: seconds, which no mistyped name has to wait for

    runs = []
    for seed, run_dir in run_dirs.items():
        with watch(f"train {run_dir}", unit="steps") as update:
            result = train(
                cache,
                recipe,
                run_dir,
                recipe_name=Path(settings.recipe).stem,
                seed=seed,
                ids=ids,
                hold_out=hold_out,
                val_ids=val_ids,
                data=settings.data,
                device=settings.device,
                threads=parse_threads(settings.threads) or "auto",
                weights=settings.weights,
                progress=_shown(update, run_dir),
                notify=notify,
            )
        runs.append(_run_json(result, seed))
        notices += [line for line in result.notices if line not in notices]
    return {
        "schema": "avpipe.train/1",
        "recipe": settings.recipe,
        "runs": runs,
        "mean": _over_runs(runs, statistics.fmean),
        "std": _over_runs(runs, statistics.stdev) if len(runs) > 1 else None,
        "notices": notices,
    }


def _over_runs(
    runs: Sequence[dict[str, Any]], what: Callable[[list[float]], float]
) -> dict[str, float | None]:
    """Return mean or deviation of the losses; None where a run has none."""
    columns = {name: [run[name] for run in runs] for name in ("loss", "val_loss")}
    return {name: None if None in values else what(values) for name, values in columns.items()}


def _shown(update: Update, run_dir: Path) -> Callable[[Progress], None]:
    """Show steps, the epoch and the loss; steps of an earlier call are no work of this one."""
    found = latest_checkpoint(run_dir)
    before = [found[1] if found else 0]

    def show(progress: Progress) -> None:
        while before:
            update(before.pop(), progress.num_steps)
        note = f"epoch {progress.epoch}/{progress.num_epochs}, loss {progress.loss:.3f}"
        update(progress.step, progress.num_steps, note=note)

    return show


def _run_json(result: TrainResult, seed: int) -> dict[str, Any]:
    from ..train.runs.metric_lines import last_loss

    steps = result.num_steps - result.first_step
    page = read_page(result.run_dir)
    return {
        "run": str(result.run_dir),
        "seed": seed,
        "clips": len(page.ids),
        "batch_size": page.batch_size,
        "num_steps": result.num_steps,
        "done": steps,
        "skipped": result.first_step,
        "loss": last_loss(result.run_dir / "metrics.jsonl"),
        "val_loss": last_loss(result.run_dir / "validation.jsonl"),
        "weights": page.image_weights,
        "seconds": round(result.seconds, 3),
        "waited_s": round(result.waited_s, 3),
        "per_second": round(steps / result.seconds, 3) if steps else 0.0,
    }


@dataclass(frozen=True)
class EvaluateSettings:
    """Everything `evaluate` can be told."""

    runs: tuple[Path, ...]
    cache: Path
    annotations: Path | None
    benchmark: str = "synth"
    protocol: str = "avpipe"
    paper: str | None = None
    geometry: Geometry | None = None
    alphas: tuple[float, ...] = ()
    branch: str | None = None
    head: str | None = None
    ids: Path | None = None
    predicted: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    device: str = "auto"
    threads: str = AUTO
    batch_size: int = 64


def evaluate_runs(settings: EvaluateSettings) -> dict[str, Any]:
    """Score runs; return the `avpipe.evaluate/1` document, runs on random weights marked.

    Raises:
        UsageError: Nobody says where the true boxes are.
        Errors as `train.evaluate.evaluate` does.
    """
    folders, cache = run_folders(settings.runs), Cache(settings.cache)
    require_benchmark(settings.benchmark)
    if settings.annotations is None:
        raise UsageError("say where the true boxes are: --annotations, or annotations in a file")
    load_protocol(settings.protocol, settings.paper)
    sweeps = Sweeps(settings.predicted, settings.levels)
    sweeps.require_boxes(
        settings.benchmark, load_benchmark(settings.benchmark, settings.annotations)
    )
    ids = read_ids_to_take(settings.ids)
    from ..train.score.evaluate import (
        evaluate,  # torch: seconds, which no mistyped name has to wait for
    )

    with (
        network_threads(settings.threads, settings.device),
        watch("maps", unit="maps") as progress,
    ):
        document = evaluate(
            folders,
            cache,
            annotations=settings.annotations,
            benchmark=settings.benchmark,
            protocol=settings.protocol,
            paper=settings.paper,
            geometry=settings.geometry,
            alphas=settings.alphas,
            branch=settings.branch,
            head=settings.head,
            ids=ids,
            sweeps=sweeps,
            device=settings.device,
            batch_size=settings.batch_size,
            progress=progress,
        )
    for entry in document["runs"]:
        if (entry["weights"] or "").startswith(RANDOM):
            document["notices"].append(
                f"{entry['run']} began with {weights_text(entry['weights'])}"
            )
    return document


def parse_alphas(text: str | None) -> tuple[float, ...]:
    """Parse `--alpha 0.4` or `--alpha 0.2,0.4,0.6`.

    Raises:
        UsageError: Not numbers from 0 to 1, or one comes twice.
    """
    return parse_shares(text, "--alpha")


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


def run_folders(named: Sequence[Path]) -> list[Path]:
    """Return the runs that folders hold: themselves, or one for each seed.

    Raises:
        UsageError: A run is named twice.
        InputError: A folder holds no run.
    """
    found: list[Path] = []
    for folder in named:
        if folder.is_file():
            raise InputError(f"{folder} is a file; name the folder of a run")
        pages = [folder / "run.json"] if (folder / "run.json").exists() else []
        pages = pages or sorted(folder.glob("seed*/run.json"), key=_seed_of)
        if not pages:
            raise InputError(no_run(folder))
        found += [page.parent for page in pages]
    real = [folder.resolve() for folder in found]
    for number, folder in enumerate(found):
        if real[number] in real[:number]:
            raise UsageError(f"{folder} is named twice")
    return found


def _seed_of(page: Path) -> tuple[int, str]:
    """Sort seed10 behind seed9."""
    return len(page.parent.name), page.parent.name
