"""What `verify RUN` says: the damaged files, and the command lines that make them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ...cache.store import Cache
from ...errors import AvpipeError
from ...train.choices import Branch, Head
from ...train.recipe import Recipe, list_recipes, load_recipe, recipe_values
from ...train.runs.exported import DESCRIPTION
from ...train.runs.peers import PEERS
from ...train.runs.record import RunRecord, read_record
from ...train.runs.verify import PAGE, RunsReport, check, is_run
from ...train.score.protocols import PROTOCOLS
from ..part_names import names_in


def runs_document(folder: Path, report: RunsReport) -> dict[str, Any]:
    """Return the `--json` form of what was found in a folder of runs."""
    told = _Told()
    for name in report.damaged:
        path = folder / name
        run = next((one for one in path.parents if is_run(one)), folder)  # of seeds: their report
        told.add(run, path, name)
    return {
        "schema": "avpipe.verify/1",
        "ok": report.ok,
        "files": report.files,
        "bytes": report.bytes,
        "damaged": report.damaged,
        "repaired": [],
        "commands": list(dict.fromkeys(told.commands)),
        "lost": told.lost,
        "notices": report.notices,
    }


@dataclass
class _Told:
    """What is to be done about damaged files.

    Attributes:
        commands: Lines to run, in order.
        lost: What no command brings back.
    """

    commands: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def add(self, run: Path, path: Path, name: str) -> None:
        """Take up a damaged file of a run; `name` is what it is called."""
        if (run / DESCRIPTION).exists() and not (run / "checkpoints").exists():
            self._of_export(run, name)
        elif path.parent.parent.name == "checkpoints":
            self._of_checkpoint(run, path.parent)
        elif path.parent.name == "evaluate":
            self.commands.append(_evaluate(run, path))
        elif path.suffix == ".html":
            self.commands.append(_line("report", run, "--out", path))
        elif path.name == PAGE:
            self._of_page(run, path, name)
        elif path.suffix == ".jsonl":
            self.lost.append(f"{name}: the losses of those steps (the weights do not depend on it)")
        else:  # TensorBoard's
            self.commands.append(shlex.join(["rm", str(path)]) + "  # metrics.jsonl has the same")

    def _of_export(self, folder: Path, name: str) -> None:
        run = folder.parent
        if is_run(run):
            out = [] if folder.name == "export" else ["--out", folder]
            self.commands.append(_line("export", run, *out))
        else:
            self.lost.append(f"{name}: fetch it again, or run `avpipe export` of its run again")

    def _of_checkpoint(self, run: Path, checkpoint: Path) -> None:
        self.commands.append(shlex.join(["rm", "-r", str(checkpoint)]))
        newest = max(path.name for path in checkpoint.parent.glob("[0-9]" * 8))
        if checkpoint.name == newest:
            try:
                self.commands.append(_made_by(run, read_record(run)))
            except AvpipeError:  # named under its own name
                self.lost.append(f"{run}: its weights, where no checkpoint is left")

    def _of_page(self, run: Path, path: Path, name: str) -> None:
        copy = run / "export" / PAGE
        if copy.exists() and not check(copy.parent, copy).problem:
            self.commands.append(shlex.join(["cp", str(copy), str(path)]))
        else:
            self.lost.append(f"{name}: put back a copy of it, or train again into a new folder")


def _line(*words: object) -> str:
    return shlex.join(["avpipe", *map(str, words)])


def _evaluate(run: Path, path: Path) -> str:
    """Return what evaluates again; the file's name tells benchmark, network and protocol."""
    names = [one for one in names_in("train/benchmarks") if f"{path.stem}-".startswith(f"{one}-")]
    benchmark = max(names, key=len, default="")
    words: list[object] = ["evaluate", run, *_cache_of(run)]
    words += ["--benchmark", benchmark] if benchmark else []
    rest = f"-{path.stem.removeprefix(benchmark)}-"
    for option, values in (("branch", get_args(Branch)), ("head", get_args(Head))):
        words += [word for one in values if f"-{one}-" in rest for word in (f"--{option}", one)]
    protocols = [one for one in PROTOCOLS if rest.endswith(f"-{one}-")]
    paper = rest.partition("-paper-")[2].removesuffix("-")
    words += ["--protocol", "paper", "--paper", paper] if paper else []
    words += ["--protocol", max(protocols, key=len)] if protocols and not paper else []
    return _line(*words, "--annotations", "TRUTH") + "  # TRUTH: where the true boxes are"


def _cache_of(run: Path) -> list[str]:
    try:
        cache = read_record(run).cache
    except AvpipeError:
        return []
    return ["--cache", cache] if cache else []


def _made_by(run: Path, record: RunRecord) -> str:
    """Return what makes a run's weights again, from the checkpoint that is left or from the start.

    The record knows the recipe by its values, and the clips by their ids.
    """
    if record.imported is not None:
        return _imported_by(run, record, record.imported)
    words = ["train", *_cache_of(run), *_recipe_of(record)]
    if run.name == f"seed{record.seed}":
        words += ["--run", str(run.parent), "--seeds", str(record.seed)]
    else:
        words += ["--run", str(run), *(["--seeds", str(record.seed)] if record.seed else [])]
    notes = [] if _all_clips(record) else [f"IDS: the ids in {run / PAGE}"]
    words += ["--ids", "IDS"] if notes else []
    if (run / "validation.jsonl").exists():
        words += ["--val-ids", "HELD"]
        notes.append("HELD: the clips it was validated on")
    return _line(*words) + (f"  # {'; '.join(notes)}" if notes else "")


def _recipe_of(record: RunRecord) -> list[str]:
    """Return the options that say how a run learnt: a recipe, and what was set otherwise."""
    if record.recipe_name not in list_recipes():
        return ["--recipe", f"{record.recipe_name}.toml"]
    usual = load_recipe(record.recipe_name)
    return ["--recipe", record.recipe_name, *_settings(record.recipe, usual)]


def _imported_by(run: Path, record: RunRecord, facts: Mapping[str, Any]) -> str:
    """Return what imports a peer's weights again, from the file of that name."""
    peer, variant = PEERS[facts["from"]], facts.get("variant") or ""
    usual = load_recipe(peer.recipe, [*peer.settings, *peer.variants.get(variant, ())])
    words = ["import-checkpoint", facts["file"], "--from", facts["from"]]
    words += ["--variant", variant] if variant else []
    words += ["--run", str(run), *_settings(record.recipe, usual)]
    words += ["--trained-on", "IDS"] if record.ids else []
    return _line(*words) + (f"  # IDS: the ids in {run / PAGE}" if record.ids else "")


def _settings(recipe: Recipe, usual: Recipe) -> list[str]:
    """Return the options `--set` that bring one recipe to another."""
    before = recipe_values(usual)
    own = {key: value for key, value in recipe_values(recipe).items() if value != before[key]}
    for key, prefix in (("objective_options", "objective"), ("weights", "weights")):
        own |= {f"{prefix}.{name}": value for name, value in own.pop(key, {}).items()}
    return [word for key, one in own.items() for word in ("--set", f"{key}={_shown(one)}")]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _all_clips(record: RunRecord) -> bool:
    """Whether a run learnt from all clips that its cache holds now."""
    try:
        return set(Cache(Path(record.cache)).ids) == set(record.ids)
    except (AvpipeError, OSError):
        return False
