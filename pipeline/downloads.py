"""What is told, on stderr, of a download: a bar, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..weights import listening
from . import output
from .watch import watch_stages

_MB = 1_000_000
_LINE_EVERY_S = 30.0


@contextmanager
def watch_downloads() -> Iterator[None]:
    """Show a bar in megabytes for each download in this block."""
    with watch_stages("MB") as update:

        def tell(name: str, present: int, wanted: int, *, note: str = "") -> None:
            if note:
                output.note(f"{name}: {note}")
            else:
                update(name, present // _MB, -(-max(wanted, present) // _MB))

        with listening(tell):
            yield


@contextmanager
def tell_downloads() -> Iterator[None]:
    """Print lines on each download in this block, for commands that show bars of their own."""
    last: dict[str, float] = {}

    def tell(name: str, present: int, wanted: int, *, note: str = "") -> None:
        now = time.monotonic()
        if note:
            output.note(f"{name}: {note}")
        elif name not in last or now - last[name] >= _LINE_EVERY_S:
            last[name] = now
            size = output.size_text(wanted) if wanted else "unknown size"
            output.note(f"fetching {name}: {output.size_text(present)} of {size}")

    with listening(tell):
        yield
