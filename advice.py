"""Commands that messages name, with the cache they are about; `cache/` itself names none."""

from __future__ import annotations

import shlex
from pathlib import Path

DEFAULT_CACHE = Path("avcache")
_MANIFEST = "manifest"


def advice(words: str, path: Path) -> str:
    """Return a command in backquotes, for the cache that a file lies in.

    Args:
        words: After `avpipe`, for example `verify --repair`.
        path: The cache's folder or a file in it; `--cache` is added where it is not the default.
    """
    here = (folder for folder in (path, *path.parents) if (folder / _MANIFEST).is_dir())
    cache = next(here, DEFAULT_CACHE)
    is_default = cache.absolute() == DEFAULT_CACHE.absolute()
    return f"`avpipe {words}{'' if is_default else f' --cache {shlex.quote(str(cache))}'}`"
