"""Progress bars for stages that report how far they are as (present, wanted)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

from .progress import Progress


class Update(Protocol):
    """Called with (items present, items wanted), maybe with a remark to show."""

    def __call__(self, present: int, wanted: int, *, note: str = "") -> None:
        """Show it."""


class StageUpdate(Protocol):
    """The same with what is being done; a new label is a new bar."""

    def __call__(self, label: str, present: int, wanted: int, *, note: str = "") -> None:
        """Show it."""


@contextmanager
def watch(label: str, unit: str = "clips") -> Iterator[Update]:
    """Yield a function to be called with (items present, items wanted).

    The first call says what an earlier run left; the bar's rate is that of this run alone.
    """
    with watch_stages(unit) as update:
        yield partial(update, label)


@contextmanager
def watch_stages(unit: str = "clips") -> Iterator[StageUpdate]:
    """Yield a function to be called with (label, items present, items wanted).

    A new label, or a count that starts again, begins a new bar.
    """
    with ExitStack() as stack:
        bar: Progress | None = None
        current, known = "", 0

        def update(label: str, present: int, wanted: int, *, note: str = "") -> None:
            nonlocal bar, current, known
            if bar is None or label != current or present < known:
                stack.close()
                bar = stack.enter_context(Progress(label, wanted, unit, present))
            else:
                bar.advance(present - known, note=note)
            current, known = label, present

        yield update
