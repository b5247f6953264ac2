"""Progress on stderr: a bar with rate, time left and failures; plain lines where nobody watches.

Lines keep their distance over all bars of a process, so that many short ones are told of too.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from ..printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_FIRST_LINE_S = 5.0
_LINE_EVERY_S = 30.0
_RATE_AFTER_S = 1.0
"""A bar younger than this has no rate yet: what came before its first count would be absurd."""


class Progress:
    """Counts finished items of a known number; use as a context manager."""

    _line_due: ClassVar[float | None] = None
    """When the next line is printed, by the monotonic clock; None before the first bar."""

    def __init__(self, label: str, total: int, unit: str = "clips", done: int = 0) -> None:
        """Prepare a bar named `label` over `total` items, `done` of them by an earlier run."""
        self._label, self._total, self._unit = printable(label), total, unit
        self._before = self._done = done
        self._failed = 0
        self._bar: RichProgress | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        """Start the clock, and the bar on a terminal."""
        self._started = time.monotonic()
        if Progress._line_due is None:
            Progress._line_due = self._started + _FIRST_LINE_S
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[failed]}"),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
                speed_estimate_period=120,
            )
            self._bar.add_task(
                self._label,
                total=self._total,
                completed=self._done,
                rate="",
                failed="",
                note="",
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bar down."""
        if self._bar:
            self._bar.stop()

    def advance(self, count: int, failed: int = 0, note: str = "") -> None:
        """Count `count` more finished items, `failed` of them failures; show a remark."""
        self._done += count
        self._failed += failed
        note = printable(note)
        now = time.monotonic()
        rate = 0.0
        if now - self._started >= _RATE_AFTER_S:
            rate = (self._done - self._before) / (now - self._started)
        rate_text = f"{rate:.1f} {self._unit}/s" if rate else ""
        failed_text = f"{self._failed} failed" if self._failed else ""
        if self._bar:
            task = self._bar.task_ids[0]
            self._bar.update(task, advance=count, rate=rate_text, failed=failed_text, note=note)
        elif self._done > self._before and now >= (Progress._line_due or 0):
            Progress._line_due = now + _LINE_EVERY_S
            left_s = (self._total - self._done) / rate if rate else 0
            parts = [
                f"{self._label} {self._done}/{self._total} {self._unit}",
                rate_text,
                f"{left_s / 60:.1f} min left" if rate else "",
                failed_text,
                note,
            ]
            print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)
