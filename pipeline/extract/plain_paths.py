"""Sizes of millions of files by the simplest names there are, with little work for each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .lists import VIDEO_SUFFIXES, suffix_of


def plain_sizes(names: Iterable[str], root: str) -> Iterator[tuple[str, int | None]]:
    """Yield each name and the bytes of its file below a folder, 0 of what is not there.

    None where more than one look is needed: at paths that are absolute, lead through `.` or `..`,
    into a tar or to an address, or hold a NUL, and at names without a folder that are no video
    directly below `root`.
    """
    with _inside(root) as (prefix, folder):
        for name in names:
            if name[0] in "./" or name[-1] == "/" or "/." in name or "//" in name or "\0" in name:
                yield name, None
                continue
            if ".tar" in name:
                yield name, None
                continue
            path = prefix + name
            # an exception for each that is missing would take longer than this question
            found = os.stat(path, dir_fd=folder) if os.access(path, 0, dir_fd=folder) else None
            is_file = found is not None and stat.S_ISREG(found.st_mode)
            if "/" in name or (is_file and suffix_of(name) in VIDEO_SUFFIXES):
                yield name, found.st_size if found is not None and is_file else 0
            else:
                yield name, None


@contextmanager
def _inside(root: str) -> Iterator[tuple[str, int | None]]:
    """Open a folder, which spares the way to it; where that cannot be, give its path instead."""
    try:
        folder = os.open(root, getattr(os, "O_PATH", os.O_RDONLY))
    except OSError:
        yield os.path.join(root, ""), None  # noqa: PTH118
        return
    try:
        yield "", folder
    finally:
        os.close(folder)
