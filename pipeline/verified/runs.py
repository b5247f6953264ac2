"""What `verify RUN` says: the damaged files, and the command lines that make them again, in order.

Each line needs what the lines above it have made: the record, the weights, what was evaluated with
them, then exports and pages, which show the scores.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...train.runs.board import FOLDER as BOARD
from ...train.runs.checkpoint import checkpoints_in
from ...train.runs.exported import is_left_of_export
from ...train.runs.made_by import FILE as COMMANDS
from ...train.runs.made_by import noted
from ...train.runs.record import RunRecord
from ...train.runs.verify import CHECKPOINTS, PAGE, RunsReport, is_of_another, is_run, known_record
from ..output import Document
from .again import Again, report_line
from .document import document

_NO_EXPORTS = {"evaluate", BOARD, CHECKPOINTS}
"""Folders in a run that are its own."""


def runs_document(folder: Path, report: RunsReport) -> Document:
    """Return the `--json` form of what was found in a folder of runs."""
    damaged: dict[Path, list[Path]] = {}
    for name in report.damaged:
        path = folder / name
        within = [one for one in path.parents if folder in (one, *one.parents) and is_run(one)]
        damaged.setdefault(within[-1] if within else folder, []).append(path)
    told = _Told(folder)
    for run, paths in damaged.items():
        if not is_run(run):
            told.of_seeds(run, paths)
        elif is_left_of_export(run):
            told.of_export(run, paths)
        else:
            told.of_run(run, paths)
    return document(
        files=report.files,
        size=report.bytes,
        damaged=report.damaged,
        commands=list(dict.fromkeys(told.commands)),
        lost=told.lost,
        notices=report.notices,
    )


@dataclass
class _Told:
    """What is to be done about damaged files.

    Attributes:
        folder: What is verified: files are named by their paths below it.
        commands: Lines to run, from the first to the last.
        lost: What no command brings back.
    """

    folder: Path
    commands: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def of_run(self, run: Path, damaged: Sequence[Path]) -> None:
        """Take up the damaged files of a run and of its exports."""
        record, was_restored = self._record(run, run / PAGE in damaged)
        if record is None:
            return
        again = Again(run, record, noted(run))
        self._remove(run, damaged)
        begins_anew = self._weights(again, damaged, was_restored)
        if not begins_anew:
            self.lost += [
                f"{self._name(path)}: the losses of those steps (the weights do not depend on it)"
                for path in damaged
                if path.suffix == ".jsonl"
            ]
        self.commands += [
            again.evaluation(path) for path in damaged if path.parent == run / "evaluate"
        ]
        inner = [path.parent for path in damaged if path.parent.parent == run]
        self.commands += [again.export(one) for one in inner if one.name not in _NO_EXPORTS]
        self.commands += [again.page(path) for path in damaged if path.suffix == ".html"]

    def of_export(self, folder: Path, damaged: Sequence[Path]) -> None:
        """Take up the damaged files of an export that is looked at alone."""
        run = folder.absolute().parent
        record = known_record(run)
        if record is not None and (run / CHECKPOINTS).exists():
            parent = folder.parent if folder.name else run
            self.commands.append(Again(parent, record, noted(run)).export(folder))
            return
        self.lost += [
            f"{self._name(path)}: fetch it again, or run `avpipe export` of its run again"
            for path in damaged
        ]

    def of_seeds(self, folder: Path, damaged: Sequence[Path]) -> None:
        """Take up the damaged pages on runs of several seeds."""
        made = noted(folder)
        self._remove(folder, damaged)
        for path in damaged:
            if path.suffix == ".html":
                self.commands.append(report_line(folder, path, made.get(path.name, ())))

    def _record(self, run: Path, is_damaged: bool) -> tuple[RunRecord | None, bool]:
        """Return a run's record, and whether a copy is put back."""
        if not is_damaged:
            return known_record(run), False
        for copy in sorted(run.glob(f"*/{PAGE}")):
            record = known_record(copy.parent) if is_left_of_export(copy.parent) else None
            if record is not None and not is_of_another(run, record):
                self.commands.append(shlex.join(["cp", "--", str(copy), str(run / PAGE)]))
                return record, True
        copy_back = "put back a copy of it and verify again, or train again into a new folder"
        self.lost.append(f"{self._name(run / PAGE)}: {copy_back}")
        return None, False

    def _remove(self, run: Path, damaged: Sequence[Path]) -> None:
        """Remove what takes the place of nothing, and checkpoints that are not whole."""
        for path in damaged:
            if path.parent.parent == run / CHECKPOINTS:
                self.commands.append(shlex.join(["rm", "-r", str(path.parent)]))
            elif path.parent == run / BOARD:
                self.commands.append(
                    f"{shlex.join(['rm', str(path)])}  # metrics.jsonl has the same"
                )
            elif path == run / COMMANDS:
                line = shlex.join(["rm", str(path)])
                self.commands.append(f"{line}  # with which options the files here were made")

    def _weights(self, again: Again, damaged: Sequence[Path], was_restored: bool) -> bool:
        """Let weights be made again where they are not there; return whether from the start."""
        run = again.run
        bad = {path.parent for path in damaged if path.parent.parent == run / CHECKPOINTS}
        there = checkpoints_in(run / CHECKPOINTS)
        is_gone = run / CHECKPOINTS in damaged or (bool(there) and there[-1] in bad)
        needs_cache = was_restored and again.record.imported is None
        if is_gone or needs_cache:  # the copy of the record does not know the cache
            self.commands.append(again.weights())
        return is_gone and set(there) <= bad

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()
