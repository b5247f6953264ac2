"""Clips in a folder and all below it: names, types and sizes only, no file is opened."""

# ruff: noqa: PTH110, PTH116, PTH118 - millions of names stay plain strings

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...errors import InputError
from .layouts import (
    Folder,
    FoundFile,
    Sounds,
    above,
    inner_folder,
    of_layout,
    suffixes_of,
    without_picture,
)
from .lists import VIDEO_SUFFIXES, shown, suffix_of

HIDDEN = "(hidden)"
SPECIAL = "(not a file)"
DRAWN = "(folder of films by avpipe)"
_MARK = ".avpipe-films"
"""A file in folders that avpipe made for its films: heat is burnt in, nothing to learn from."""


def find_clips(
    root: str, visited: set[tuple[int, int]], ignored: Counter[str], notices: list[str]
) -> Iterator[FoundFile]:
    """Videos below `root`, and the pictures of `frames/<id>.jpg` + `audio/<id>.wav` layouts.

    AVSBench's `visual_frames/.../<v>/<v>_<i>.png` + `audio_wav/.../<v>.wav` is one too. Where the
    folder that holds such a layout also holds videos, the pictures were cut from them: they are
    left alone. Hidden files and folders are left alone, folders of avpipe's films, and sounds of
    such a layout that have no picture.

    Args:
        root: absolute folder.
        visited: device and inode of the folders already searched; they are skipped, and added to.
        ignored: counts of the files left alone by suffix, added to.
        notices: one that names sounds without a picture, added to.

    Raises:
        InputError: a folder cannot be read.
    """
    pictures: list[tuple[Folder, str, int]] = []
    sounds: list[str] = []
    with_videos: set[str] = set()
    for folder, entry in _walk(root, visited, ignored):
        suffix = suffix_of(entry.name)
        is_picture = folder.pictures is not None and suffix in suffixes_of(folder)
        if entry.name.startswith("."):
            ignored[HIDDEN] += 1
        elif folder.sounds and not folder.pictures and suffix == ".wav":
            sounds.append(folder.prefix + entry.name)
        elif suffix not in VIDEO_SUFFIXES and not is_picture:
            ignored[suffix] += 1
        elif (size := _size(entry)) is None:
            ignored[SPECIAL] += 1
        elif is_picture:
            pictures.append((folder, entry.name, size))
        else:
            with_videos.add(folder.prefix)
            yield FoundFile(folder.prefix + entry.name, size)
    prefixes = sorted(with_videos)

    def holds_videos(above: str) -> bool:
        at = bisect_left(prefixes, above)
        return at < len(prefixes) and prefixes[at].startswith(above)

    heard = set()
    known = Sounds(sounds)
    for folder, name, size in pictures:
        if holds_videos(above(folder.pictures or "")):
            ignored[suffix_of(name)] += 1
        else:
            picture = known.of(folder, name, size)
            heard.add(picture.audio_path)
            yield picture
    if alone := [sound for sound in sounds if sound not in heard]:
        ignored[".wav"] += len(alone)
        lost = [sound for sound in alone if not holds_videos(of_layout(sound))]
        notices.extend(without_picture(lost, root))


def make_films_folder(folder: Path) -> None:
    """Make a folder for films, marked as one; a folder that is there is somebody's and stays."""
    with suppress(OSError):  # writing the first film tells it better
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / _MARK).touch()


def _walk(
    root: str, visited: set[tuple[int, int]], ignored: Counter[str]
) -> Iterator[tuple[Folder, os.DirEntry[str]]]:
    """Every entry below `root` that is no folder, with the folder it is in.

    Each real folder is visited once, so links that loop end; linked folders wait until the real
    tree is done, so that a new link never renames a clip.
    """
    waiting = [Folder("")]
    links: list[Folder] = []
    while waiting or links:
        if not waiting:
            links.sort(key=lambda link: os.fsencode(link.prefix), reverse=True)
            waiting.append(links.pop())
        folder = waiting.pop()
        full = os.path.join(root, folder.prefix)
        below: dict[str, bool] = {}  # name: is a link
        try:
            found = os.stat(full)
            if (found.st_dev, found.st_ino) in visited:
                continue
            visited.add((found.st_dev, found.st_ino))
            if os.path.exists(os.path.join(full, _MARK)):
                ignored[DRAWN] += 1
                continue
            with os.scandir(full) as entries:
                for entry in entries:
                    if not _is_folder(entry):
                        yield folder, entry
                    elif not entry.name.startswith("."):
                        below[entry.name] = entry.is_symlink()
        except OSError as error:
            raise InputError(f"{shown(full)}: cannot be read ({error.strerror})") from error
        for name, is_link in below.items():
            inner = inner_folder(folder, name, below.keys())
            in_layout = inner.sounds is not None and folder.sounds is None
            (links if is_link and not in_layout else waiting).append(inner)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: no folder; extraction says what is wrong with it
        return False


def _size(entry: os.DirEntry[str]) -> int | None:
    """Bytes of a file, 0 for a broken link, None for what is no file."""
    try:
        found = entry.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else None
