"""Verification of what runs leave: every file of theirs is read, and damaged ones are named.

Files that a run does not write are not looked at: they are the user's.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...advice import CommandOptions
from ...errors import AvpipeError
from ...reading import is_no_file, read_regular
from ..notices import collected
from ..schedule import Plan
from ..score.stored_arrays import is_whole
from .board import FOLDER as BOARD
from .checkpoint import (
    OPTIMIZER,
    RECORD,
    WEIGHTS,
    checkpoint_problem,
    checkpoints_in,
    latest_checkpoint,
    stranger,
)
from .events import events_problem
from .exported import CARD, DESCRIPTION, description_problem, is_left_of_export
from .exported import WEIGHTS as MODEL
from .made_by import FILE as COMMANDS
from .made_by import noted, value_of
from .metric_lines import lines_problem
from .record import RunRecord, read_record
from .sealed import CSV_DIGEST, DIGEST, is_signed, unseal

PAGE, REPORT = "run.json", "report.html"
METRICS, VALIDATION, CHECKPOINTS = "metrics.jsonl", "validation.jsonl", "checkpoints"
IN_CHECKPOINT = WEIGHTS, OPTIMIZER, RECORD


@dataclass
class RunsReport:
    """What was found in a folder of runs; names are paths below it.

    Attributes:
        files: Files checked.
        bytes: Their size.
        damaged: What is wrong with a file, by its name.
        notices: What cannot be checked.
    """

    files: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


class Found(NamedTuple):
    """What was found in a file.

    Attributes:
        problem: What is wrong; "" where nothing is.
        notice: Why it cannot be checked; "" where it can.
    """

    problem: str = ""
    notice: str = ""


_UNSIGNED = f"has no {DIGEST}: damage in it would not be noticed"


def is_run(folder: Path) -> bool:
    """Whether a folder holds what a run leaves; its record may be lost."""
    own = (folder / PAGE, folder / CHECKPOINTS)
    return any(path.exists() for path in own) or is_left_of_export(folder)


def verify_runs(folder: Path) -> RunsReport:
    """Read every file of a run, of its exports, or of every run of a folder of seeds."""
    report = RunsReport()
    runs = [folder] if is_run(folder) else sorted(p for p in folder.glob("seed*") if is_run(p))
    files = [one for run in runs for one in files_of(run)]
    if not is_run(folder):
        own = (*folder.glob("*.html"), *folder.glob(COMMANDS))
        files += [(folder, path) for path in sorted(own)]
    for owner, path in files:
        name = path.relative_to(folder).as_posix()
        found = check(owner, path)
        if path.exists():
            report.files += 1
            report.bytes += path.stat().st_size
        if found.problem:
            report.damaged[name] = found.problem
        if found.notice:
            report.notices.append(f"{path} {found.notice}")
    for run in runs:
        is_begun = (run / PAGE).exists() and not is_left_of_export(run)
        if is_begun and not latest_checkpoint(run) and (run, run / CHECKPOINTS) not in files:
            report.notices.append(f"{run} has no checkpoint: `avpipe train` begins it again")
    return report


def files_of(run: Path, *, is_export: bool = False) -> Iterator[tuple[Path, Path]]:
    """Yield the files that are checked, each with its run: those that are missing, too."""
    made = noted(run)
    if is_export or is_left_of_export(run):
        expected = {PAGE, DESCRIPTION, MODEL, CARD}
    else:
        expected = {PAGE, *_of_training(run, made), *_of_evaluations(run, made)}
    present = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    for name in sorted(expected | present):
        if _check_of(name) and (name != CARD or name in expected):
            yield run, run / name
    for inner in _folders_in(run):
        if is_left_of_export(inner) or f"{inner.name}/" in made:
            yield from files_of(inner, is_export=True)


def _folders_in(run: Path) -> list[Path]:
    """Return the folders in a run's, drafts left out."""
    return sorted(path for path in run.iterdir() if path.is_dir() and path.name[0] != ".")


def _of_training(run: Path, made: Mapping[str, CommandOptions]) -> Iterator[str]:
    """Yield what training has left where it left something else."""
    newest, record = latest_checkpoint(run), known_record(run)
    for checkpoint in checkpoints_in(run / CHECKPOINTS):
        yield from (f"{CHECKPOINTS}/{checkpoint.name}/{name}" for name in IN_CHECKPOINT)
    if newest is None:
        is_imported = record is not None and record.imported is not None
        was_exported = any(map(is_left_of_export, _folders_in(run)))
        if is_imported or was_exported or any(run.glob("evaluate/*.json")):
            yield CHECKPOINTS
    elif newest[1]:  # one that was imported has no steps
        yield METRICS
        epoch = _steps_of_epoch(record)
        if epoch and newest[1] >= epoch and value_of(made.get("train", ()), "--val-ids"):
            yield VALIDATION


def _of_evaluations(run: Path, made: Mapping[str, CommandOptions]) -> Iterator[str]:
    """Yield scores and tables of which the other is there."""
    for path in run.glob("evaluate/*.json"):
        yield f"evaluate/{path.stem}.csv"
    for path in run.glob("evaluate/*.csv"):
        if f"evaluate/{path.stem}" in made:  # noted as both were there
            yield f"evaluate/{path.stem}.json"


def _steps_of_epoch(record: RunRecord | None) -> int:
    """Return how many steps an epoch has; 0 where the record does not tell."""
    if record is None or not record.ids:
        return 0
    plan = Plan(record.recipe, record.seed, len(record.ids), record.batch_size, 0, record.num_ranks)
    return plan.steps_per_epoch


def known_record(run: Path) -> RunRecord | None:
    """Return what a run's record says; None where it is damaged, which is told elsewhere."""
    with collected(), suppress(AvpipeError, OSError):
        return read_record(run)
    return None


def check(run: Path, path: Path) -> Found:
    """Check one file of a run, as `verify_runs` does with each."""
    one = _check_of(path.relative_to(run).as_posix())
    assert one is not None, path
    try:
        return one(run, path)
    except FileNotFoundError:
        return Found("missing")
    except ValueError as error:
        return Found(" ".join(str(error).split()))
    except OSError as error:
        if error.errno == errno.EIO or is_no_file(error):
            return Found(error.strerror or str(error))
        raise  # not being allowed to read a file says nothing about it


def _record(run: Path, path: Path) -> Found:
    with collected() as told:
        try:
            record = read_record(run)
        except AvpipeError as error:
            if not path.exists():
                return Found("missing")
            return Found(str(error).removeprefix(f"{path} is damaged (").partition("); put")[0])
    if is_of_another(run, record):
        newest = checkpoints_in(run / CHECKPOINTS)[-1]
        return Found(f"the checkpoints are of another run: {stranger(newest, record)}")
    return Found(notice=_UNSIGNED if told else "")


def is_of_another(run: Path, record: RunRecord) -> bool:
    """Whether no checkpoint of a run is of a record, which then is what came from elsewhere."""
    found = checkpoints_in(run / CHECKPOINTS)
    return bool(found) and all(stranger(one, record) for one in found)


def _checkpoint_file(run: Path, path: Path) -> Found:
    problem = checkpoint_problem(path.parent, path.name)
    record = known_record(run) if path.name == RECORD and not problem else None
    if record is not None and not is_of_another(run, record):
        problem = stranger(path.parent, record)
    return Found(problem if path.parent.exists() else "")  # one that trains drops its old ones


def _lines(run: Path, path: Path) -> Found:
    if not path.exists():
        return Found("missing")
    newest = latest_checkpoint(run)
    is_every_step = path.name == METRICS
    every = 1 if is_every_step else _steps_of_epoch(known_record(run)) or 1
    step = newest[1] if newest else 0
    return Found(lines_problem(path, step, all_steps=is_every_step, every=every))


def _gone(run: Path, path: Path) -> Found:
    return Found("" if latest_checkpoint(run) else "missing")


def _arrays(run: Path, path: Path) -> Found:
    return Found("" if is_whole(read_regular(path)) else "content does not match its sha256")


def _sealed(run: Path, path: Path) -> Found:
    _, is_sealed = unseal(read_regular(path))
    return Found(notice="" if is_sealed else _UNSIGNED)


def _description(run: Path, path: Path) -> Found:
    """Compare what an export's description says of its run with the record beside it, too."""
    found, record = _sealed(run, path), known_record(run)
    if record is not None and (problem := description_problem(run, record)):
        return Found(f"it is of another run: {problem}")
    return found


def _table(run: Path, path: Path) -> Found:
    """Compare a table of pairs with what the scores beside it say; damaged ones judge nothing."""
    content = read_regular(path)
    try:
        expected = unseal(read_regular(path.with_suffix(".json")))[0].get(CSV_DIGEST)
    except (FileNotFoundError, ValueError):
        expected = None
    if expected is None:
        return Found(notice=_UNSIGNED)
    right = hashlib.sha256(content).hexdigest() == expected
    return Found("" if right else f"content does not match {CSV_DIGEST} in {path.stem}.json")


def _model(run: Path, path: Path) -> Found:
    """Compare exported weights with the description beside them; a damaged one judges nothing."""
    content = read_regular(path)
    try:
        expected = unseal(read_regular(run / DESCRIPTION))[0]["weights"]["sha256"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Found(notice=f"cannot be checked without {DESCRIPTION}")
    right = hashlib.sha256(content).hexdigest() == expected
    return Found("" if right else f"content does not match its sha256 in {DESCRIPTION}")


def _page(run: Path, path: Path) -> Found:
    is_ours = is_signed(read_regular(path)) or path.name not in (CARD, REPORT)
    return Found(notice="" if is_ours else _UNSIGNED)


def _events(run: Path, path: Path) -> Found:
    return Found(events_problem(read_regular(path)))


_Check = Callable[[Path, Path], Found]
CHECKS: dict[str, _Check] = {
    r"run\.json": _record,
    CHECKPOINTS: _gone,
    re.escape(COMMANDS): _sealed,
    rf"{CHECKPOINTS}/\d{{8}}/({'|'.join(map(re.escape, IN_CHECKPOINT))})": _checkpoint_file,
    r"(metrics|validation)\.jsonl": _lines,
    r"evaluate/[^/]+\.npz": _arrays,
    r"evaluate/[^/]+\.json": _sealed,
    r"evaluate/[^/]+\.csv": _table,
    rf"{BOARD}/events\.out\.tfevents\.[^/]+": _events,
    re.escape(DESCRIPTION): _description,
    re.escape(MODEL): _model,
    r"README\.md|[^/]+\.html": _page,
}
"""What checks a file, by its path below the run."""


def _check_of(name: str) -> _Check | None:
    found = (one for pattern, one in CHECKS.items() if re.fullmatch(pattern, name))
    return None if "/." in f"/{name}" else next(found, None)
