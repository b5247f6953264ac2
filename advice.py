"""Commands that messages name, with the cache they are about; `cache/` itself names none.

And the command that runs, for files that say how they are made again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

DEFAULT_CACHE = Path("avcache")
_MANIFEST = "manifest"

CommandOptions = tuple[tuple[str, ...], ...]
"""Options of a command, each with its values; an argument is a value alone."""
_asked: ContextVar[tuple[str, CommandOptions] | None] = ContextVar("asked", default=None)


def advice(words: str, path: Path) -> str:
    """Return a command in backquotes, for the cache that a file lies in.

    Args:
        words: After `avpipe`, for example `verify --repair`.
        path: The cache's folder or a file in it; `--cache` is added where it is not the default.
    """
    here = (folder for folder in (path, *path.parents) if (folder / _MANIFEST).is_dir())
    cache = next(here, DEFAULT_CACHE)
    is_default = cache.absolute() == DEFAULT_CACHE.absolute()
    return f"`avpipe {words}{'' if is_default else f' --cache {quoted(cache)}'}`"


def quoted(path: Path | str) -> str:
    """Return a path as a shell takes it, for a command in a message: quoted where it has to be."""
    return shlex.quote(str(path))


@contextmanager
def asking(command: str, options: CommandOptions) -> Iterator[None]:
    """Let a command run that was asked with these options."""
    token = _asked.set((command, options))
    try:
        yield
    finally:
        _asked.reset(token)


def asked(*commands: str) -> CommandOptions | None:
    """Return how one of some commands was asked that runs; None where another does, or none."""
    name, options = _asked.get() or ("", ())
    return options if name in commands else None
