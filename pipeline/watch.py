"""A progress bar for stages that report how far they are as (present, wanted)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from .progress import Progress


@contextmanager
def watch(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to be called with (items present, items wanted).

    The first call says what an earlier run left: the bar's rate is that of this run alone.
    """
    with ExitStack() as stack:
        bar: Progress | None = None
        known = 0

        def update(present: int, wanted: int) -> None:
            nonlocal bar, known
            if bar is None:
                bar = stack.enter_context(Progress(label, wanted - present))
            else:
                bar.advance(present - known)
            known = present

        yield update
