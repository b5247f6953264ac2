"""Verification of what runs leave: every file of theirs is read, and damaged ones are named.

Files that a run does not write are not looked at: they are the user's.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...errors import AvpipeError
from ..notices import collected
from ..score.stored_arrays import is_whole
from .board import FOLDER as BOARD
from .checkpoint import OPTIMIZER, RECORD, WEIGHTS, checkpoint_problem, latest_checkpoint
from .events import events_problem
from .exported import DESCRIPTION
from .exported import WEIGHTS as MODEL
from .metric_lines import lines_problem
from .record import read_record
from .sealed import CSV_DIGEST, DIGEST, is_signed, unseal

PAGE, CARD, REPORT = "run.json", "README.md", "report.html"
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

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged


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
    own = (folder / PAGE, folder / "checkpoints", folder / DESCRIPTION)
    return any(path.exists() for path in own)


def verify_runs(folder: Path) -> RunsReport:
    """Read every file of a run, of its exports, or of every run of a folder of seeds."""
    report = RunsReport()
    runs = [folder] if is_run(folder) else sorted(p for p in folder.glob("seed*") if is_run(p))
    files = [one for run in runs for one in files_of(run)]
    if not is_run(folder):
        files += [(folder, path) for path in sorted(folder.glob("*.html"))]
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
        if (
            (run / PAGE).exists()
            and not (run / DESCRIPTION).exists()
            and not latest_checkpoint(run)
        ):
            report.notices.append(f"{run} has no checkpoint: `avpipe train` begins it again")
    return report


def files_of(run: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files that are checked, each with its run: those that are missing, too."""
    expected = {PAGE}
    for checkpoint in run.glob("checkpoints/" + "[0-9]" * 8):
        expected |= {f"checkpoints/{checkpoint.name}/{name}" for name in IN_CHECKPOINT}
    if (run / DESCRIPTION).exists():
        expected |= {MODEL, CARD}
    expected |= {f"evaluate/{path.stem}.csv" for path in run.glob("evaluate/*.json")}
    present = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    for name in sorted(expected | present):
        if _check_of(name) and (name != CARD or name in expected):
            yield run, run / name
    for inner in sorted(path for path in run.iterdir() if (path / DESCRIPTION).exists()):
        yield from files_of(inner)


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
        if error.errno in (errno.EIO, errno.EISDIR):
            return Found(error.strerror or str(error))
        raise  # not being allowed to read a file says nothing about it


def _record(run: Path, path: Path) -> Found:
    with collected() as told:
        try:
            read_record(run)
        except AvpipeError as error:
            if not path.exists():
                return Found("missing")
            return Found(str(error).removeprefix(f"{path} is damaged (").partition("); put")[0])
    return Found(notice=_UNSIGNED if told else "")


def _checkpoint_file(run: Path, path: Path) -> Found:
    problem = checkpoint_problem(path.parent, path.name)
    return Found(problem if path.parent.exists() else "")  # one that trains drops its old ones


def _lines(run: Path, path: Path) -> Found:
    newest = latest_checkpoint(run)
    step = newest[1] if newest else 0
    return Found(lines_problem(path, step, all_steps=path.name == "metrics.jsonl"))


def _arrays(run: Path, path: Path) -> Found:
    return Found("" if is_whole(path.read_bytes()) else "content does not match its sha256")


def _sealed(run: Path, path: Path) -> Found:
    _, is_sealed = unseal(path.read_bytes())
    return Found(notice="" if is_sealed else _UNSIGNED)


def _table(run: Path, path: Path) -> Found:
    """Compare a table of pairs with what the scores beside it say; damaged ones judge nothing."""
    content = path.read_bytes()
    try:
        expected = unseal(path.with_suffix(".json").read_bytes())[0].get(CSV_DIGEST)
    except (FileNotFoundError, ValueError):
        expected = None
    if expected is None:
        return Found(notice=_UNSIGNED)
    right = hashlib.sha256(content).hexdigest() == expected
    return Found("" if right else f"content does not match {CSV_DIGEST} in {path.stem}.json")


def _model(run: Path, path: Path) -> Found:
    """Compare exported weights with the description beside them; a damaged one judges nothing."""
    content = path.read_bytes()
    try:
        expected = unseal((run / DESCRIPTION).read_bytes())[0]["weights"]["sha256"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Found(notice=f"cannot be checked without {DESCRIPTION}")
    right = hashlib.sha256(content).hexdigest() == expected
    return Found("" if right else f"content does not match its sha256 in {DESCRIPTION}")


def _page(run: Path, path: Path) -> Found:
    is_ours = is_signed(path.read_bytes()) or path.name not in (CARD, REPORT)
    return Found(notice="" if is_ours else _UNSIGNED)


def _events(run: Path, path: Path) -> Found:
    return Found(events_problem(path.read_bytes()))


_Check = Callable[[Path, Path], Found]
CHECKS: dict[str, _Check] = {
    r"run\.json": _record,
    rf"checkpoints/\d{{8}}/({'|'.join(map(re.escape, IN_CHECKPOINT))})": _checkpoint_file,
    r"(metrics|validation)\.jsonl": _lines,
    r"evaluate/[^/]+\.npz": _arrays,
    r"evaluate/[^/]+\.json": _sealed,
    r"evaluate/[^/]+\.csv": _table,
    rf"{BOARD}/events\.out\.tfevents\.[^/]+": _events,
    re.escape(DESCRIPTION): _sealed,
    re.escape(MODEL): _model,
    r"README\.md|[^/]+\.html": _page,
}
"""What checks a file, by its path below the run."""


def _check_of(name: str) -> _Check | None:
    found = (one for pattern, one in CHECKS.items() if re.fullmatch(pattern, name))
    return None if "/." in f"/{name}" else next(found, None)
