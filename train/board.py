"""Losses for TensorBoard, beside `metrics.jsonl`, where it is installed (extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import CacheUnwritableError

FOLDER = "tensorboard"
_PLACE = ("step", "epoch")


class Board:
    """A run's curves, `RUN/tensorboard`; `tensorboard --logdir` of many runs compares them."""

    def __init__(self, writer: Any, folder: Path) -> None:
        """Keep torch's `SummaryWriter`, and where it writes."""
        self._writer, self._folder = writer, folder

    def add(self, lines: Iterable[Mapping[str, float]], prefix: str = "") -> None:
        """Add lines as `metrics.jsonl` has them; their values get names that begin with `prefix`.

        Raises:
            CacheUnwritableError: If they cannot be written.
        """
        try:
            for line in lines:
                for name, value in line.items():
                    if name not in _PLACE:
                        self._writer.add_scalar(prefix + name, value, line["step"])
            self._writer.flush()
        except OSError as error:
            raise CacheUnwritableError(
                f"{self._folder}: {error.strerror}; make room and run the same command: it resumes"
            ) from error


def open_board(run_dir: Path, first_step: int) -> Board | None:
    """Begin or go on with a run's curves; None where TensorBoard is not installed or is broken.

    Args:
        run_dir: The run.
        first_step: Step that training begins with: what an earlier call wrote from there on is
            hidden, as its steps are made again.
    """
    if find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except (ImportError, TypeError):  # versions that do not belong together; training needs it not
        return None
    folder = run_dir / FOLDER
    make: Any = SummaryWriter  # it has no types
    return Board(make(str(folder), purge_step=first_step + 1), folder)
