"""Notices from deep inside, on their way to the user: what was damaged, what is made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def _nobody(line: str) -> None:
    pass


_listener: ContextVar[Callable[[str], None]] = ContextVar("notices", default=_nobody)


def tell(line: str) -> None:
    """Tell a line to whoever collects them; without one it is lost."""
    _listener.get()(line)


@contextmanager
def collected(pass_on: Callable[[str], None] = _nobody) -> Iterator[list[str]]:
    """Keep what is told in this block, each line once.

    Args:
        pass_on: Called with each line at once.
    """
    lines: list[str] = []

    def keep(line: str) -> None:
        if line not in lines:
            lines.append(line)
            pass_on(line)

    token = _listener.set(keep)
    try:
        yield lines
    finally:
        _listener.reset(token)
