"""Losses for TensorBoard, beside `metrics.jsonl`, where it is installed (extra `tensorboard`)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
_PLACE = ("step", "epoch")
_VERSION = "brain.Event:2"  # of the files, the first thing in each


class Board:
    """A run's curves, `RUN/tensorboard`; `tensorboard --logdir` of many runs compares them.

    They are a convenience: where they cannot be written they end with a notice, the run goes on.
    """

    def __init__(self, run_dir: Path, first_step: int, notify: Callable[[str], None]) -> None:
        """Begin a file of curves.

        TensorBoard's own writer has a thread, which prints a traceback when a disk is full. Here
        lines are appended as they come, by what it writes its records with.

        Args:
            run_dir: The run.
            first_step: What an earlier call wrote behind this step is hidden.
            notify: Called with the notice.

        Raises:
            ImportError: TensorBoard is broken.
            TypeError: As ImportError, of versions that do not belong together.
        """
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event: Any = event_pb2.Event
        self._summary: Any = summary_pb2.Summary
        self._records: Any = RecordWriter
        folder, start = run_dir / FOLDER, event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        # read in the order of their names
        name = f"{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path: Path | None = folder / f"events.out.tfevents.{name}"
        self._notify = notify
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            self._end(self._path, error)
        self._append({"file_version": _VERSION}, {"step": first_step + 1, "session_log": start})

    def add(self, lines: Iterable[Mapping[str, float]], prefix: str = "") -> None:
        """Add lines as `metrics.jsonl` has them; their values get names that begin so."""
        self._append(
            *({"step": int(line["step"]), "summary": self._of(line, prefix)} for line in lines)
        )

    def _of(self, line: Mapping[str, float], prefix: str) -> Any:
        names = [name for name in line if name not in _PLACE]
        values = [self._summary.Value(tag=prefix + n, simple_value=line[n]) for n in names]
        return self._summary(value=values)

    def _append(self, *events: Mapping[str, Any]) -> None:
        """Write events; after a failure none is written any more, as readers stop at a torn one."""
        if self._path is None:
            return
        try:
            with self._path.open("ab") as file:
                for event in events:
                    written = self._event(wall_time=time.time(), **event)
                    self._records(file).write(written.SerializeToString())
        except OSError as error:
            self._end(self._path, error)

    def _end(self, path: Path, error: OSError) -> None:
        self._path = None
        self._notify(f"{path}: {error.strerror}; TensorBoard's curves end, the run goes on")


def open_board(run_dir: Path, first_step: int, notify: Callable[[str], None]) -> Board | None:
    """Begin or go on with a run's curves; None where TensorBoard is not installed or is broken.

    Args:
        run_dir: The run.
        first_step: Step that training begins with: what an earlier call wrote from there on is
            hidden, as its steps are made again.
        notify: Called with a line where the curves cannot be written.
    """
    if find_spec("tensorboard") is None:
        return None
    try:
        return Board(run_dir, first_step, notify)
    except (ImportError, TypeError):  # versions that do not belong together; training needs it not
        return None
