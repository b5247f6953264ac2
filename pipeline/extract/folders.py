"""Clips in a folder and all below it: names, types and sizes only, no file is opened."""

# ruff: noqa: PTH110, PTH116, PTH118, PTH122 - millions of names stay plain strings

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError
from .lists import VIDEO_SUFFIXES, shown, suffix_of

HIDDEN = "(hidden)"
SPECIAL = "(not a file)"
DRAWN = "(folder of films by avpipe)"
_NUM_NAMED = 3
_MARK = ".avpipe-films"
"""A file in folders that avpipe made for its films: heat is burnt in, nothing to learn from."""


class FoundFile(NamedTuple):
    """A clip's file, and a picture's sound; both relative to the folder searched."""

    path: str
    bytes: int
    audio_path: str | None = None


class _Folder(NamedTuple):
    prefix: str  # relative to the folder searched; empty or ending in "/"
    sounds: str | None = None  # prefix of the audio folder beside this frames folder
    is_sounds: bool = False


def find_clips(
    root: str, visited: set[tuple[int, int]], ignored: Counter[str], notices: list[str]
) -> Iterator[FoundFile]:
    """Videos below `root`, and the pictures of `frames/<id>.jpg` + `audio/<id>.wav` layouts.

    Where the folder that holds such a layout also holds videos, the pictures were cut from them:
    they are left alone. Hidden files and folders are left alone, folders of avpipe's films, and
    sounds of such a layout that have no picture.

    Args:
        root: absolute folder.
        visited: device and inode of the folders already searched; they are skipped, and added to.
        ignored: counts of the files left alone by suffix, added to.
        notices: one that names sounds without a picture, added to.

    Raises:
        InputError: a folder cannot be read.
    """
    pictures: list[tuple[str, FoundFile]] = []
    sounds: list[str] = []
    with_videos: set[str] = set()
    for folder, entry in _walk(root, visited, ignored):
        suffix = suffix_of(entry.name)
        is_picture = folder.sounds is not None and suffix == ".jpg"
        if entry.name.startswith("."):
            ignored[HIDDEN] += 1
        elif folder.is_sounds and suffix == ".wav":
            sounds.append(folder.prefix + entry.name)
        elif suffix not in VIDEO_SUFFIXES and not is_picture:
            ignored[suffix] += 1
        elif (size := _size(entry)) is None:
            ignored[SPECIAL] += 1
        elif is_picture:
            sound = f"{folder.sounds}{os.path.splitext(entry.name)[0]}.wav"
            above = folder.prefix.removesuffix("frames/")
            pictures.append((above, FoundFile(folder.prefix + entry.name, size, sound)))
        else:
            with_videos.add(folder.prefix)
            yield FoundFile(folder.prefix + entry.name, size)
    prefixes = sorted(with_videos)

    def holds_videos(above: str) -> bool:
        at = bisect_left(prefixes, above)
        return at < len(prefixes) and prefixes[at].startswith(above)

    heard = set()
    for above, picture in pictures:
        if holds_videos(above):
            ignored[".jpg"] += 1
        else:
            heard.add(picture.audio_path)
            yield picture
    if alone := [sound for sound in sounds if sound not in heard]:
        ignored[".wav"] += len(alone)
        lost = [name for name in alone if not holds_videos(_above(name))]
        notices.extend(_without_picture(lost, root))


def _above(sound: str) -> str:
    """Return the prefix of the folder that holds a sound's `audio` folder."""
    return sound[: sound.rfind("/")].removesuffix("audio")


def _without_picture(sounds: list[str], root: str) -> list[str]:
    """Name sounds that have no picture, in one line."""
    if not sounds:
        return []
    names = ", ".join(shown(name) for name in sorted(sounds)[:_NUM_NAMED])
    more = f" and {len(sounds) - _NUM_NAMED} more" if len(sounds) > _NUM_NAMED else ""
    number = "a sound has" if len(sounds) == 1 else f"{len(sounds)} sounds have"
    return [f"{shown(root)}: {number} no picture in frames: {names}{more}"]


def make_films_folder(folder: Path) -> None:
    """Make a folder for films, marked as one; a folder that is there is somebody's and stays."""
    with suppress(OSError):  # writing the first film tells it better
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / _MARK).touch()


def _walk(
    root: str, visited: set[tuple[int, int]], ignored: Counter[str]
) -> Iterator[tuple[_Folder, os.DirEntry[str]]]:
    """Every entry below `root` that is no folder, with the folder it is in.

    Each real folder is visited once, so links that loop end; linked folders wait until the real
    tree is done, so that a new link never renames a clip.
    """
    waiting = [_Folder("")]
    links: list[_Folder] = []
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
        is_layout = below.keys() >= {"frames", "audio"}
        for name, is_link in below.items():
            inner = _Folder(f"{folder.prefix}{name}/")
            if is_layout and name == "frames":
                waiting.append(inner._replace(sounds=f"{folder.prefix}audio/"))
            elif is_layout and name == "audio":
                waiting.append(inner._replace(is_sounds=True))
            else:
                (links if is_link else waiting).append(inner)


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
