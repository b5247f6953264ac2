"""Caches that `export-cache` wrote out, as `verify FOLDER` knows them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...stages.exchange import MARK
from .summed import SummedKind


def is_exported_cache(folder: Path) -> bool:
    """Whether a folder holds clips of a cache in another format, or what is left of them."""
    return EXPORTS.holds(folder) or (_has_table(folder) and any(folder.glob("clips-*.*")))


def _options(folder: Path, stamp: Mapping[str, Any]) -> str:
    """Return what `export-cache` was given, as far as its mark tells."""
    words = ["--cache", "CACHE", "--format", str(stamp.get("format"))]
    words += ["--workers", str(len(stamp.get("files", ())))]
    words += [word for name in stamp.get("columns") or ["none"] for word in ("--column", name)]
    return f"{shlex.join(words)}  # CACHE: what it was made of; of a part of it, --ids too"


def _is_finished(folder: Path, stamp: Mapping[str, Any]) -> bool:
    return _has_table(folder)


def _has_table(folder: Path) -> bool:
    """Whether there is the table of clips, which is written after them."""
    return any(folder.glob("clips.*"))


EXPORTS = SummedKind("export-cache", MARK, _options, _is_finished)
