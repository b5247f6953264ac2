"""Clips in a folder and all below it: names, types and sizes only, no file is opened."""

# ruff: noqa: PTH110, PTH116, PTH118 - millions of names stay plain strings

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from ...drafts import remove_orphans, whole_folder
from ...errors import CacheUnwritableError, InputError
from .layouts import (
    Folder,
    FoundFile,
    KeyPairs,
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
    yield from _clips_among(_walk(root, visited, ignored), _size, root, ignored, notices)


def clips_named(
    names: Mapping[str, int | None],
    root: str,
    ignored: Counter[str],
    notices: list[str],
    *,
    with_pairs: bool = False,
) -> Iterator[FoundFile]:
    """Find clips as `find_clips` does where a place tells its names: in a store, or in a tar.

    Args:
        names: Relative to the root, with their bytes; None where those are not known.
        root: What the names are below.
        ignored: Counts of the files left alone by suffix, added to.
        notices: One that names sounds without a picture, added to.
        with_pairs: Whether a picture and a sound of one key are a clip, as in WebDataset's tars.
    """
    entries = _in_folders(names, ignored)
    pairs = KeyPairs() if with_pairs else None
    yield from _clips_among(entries, lambda entry: entry.bytes or 0, root, ignored, notices, pairs)


class _Named(NamedTuple):
    name: str
    bytes: int | None


class _Entry(Protocol):
    @property
    def name(self) -> str: ...


E = TypeVar("E", bound=_Entry)


def _clips_among(
    entries: Iterator[tuple[Folder, E]],
    size_of: Callable[[E], int | None],
    root: str,
    ignored: Counter[str],
    notices: list[str],
    pairs: KeyPairs | None = None,
) -> Iterator[FoundFile]:
    """Yield the clips among files, which come with the folders that they are in."""
    pictures: list[tuple[Folder, str, int]] = []
    sounds: list[str] = []
    with_videos: set[str] = set()
    for folder, entry in entries:
        suffix = suffix_of(entry.name)
        is_picture = folder.pictures is not None and suffix in suffixes_of(folder)
        if entry.name.startswith("."):
            ignored[HIDDEN] += 1
        elif folder.sounds and not folder.pictures and suffix == ".wav":
            sounds.append(folder.prefix + entry.name)
        elif suffix not in VIDEO_SUFFIXES and not is_picture:
            path = folder.prefix + entry.name
            if pairs is None or folder.sounds or not pairs.add(path, size_of(entry) or 0):
                ignored[suffix] += 1
        elif (size := size_of(entry)) is None:
            ignored[SPECIAL] += 1
        elif is_picture:
            pictures.append((folder, entry.name, size))
        else:
            with_videos.add(folder.prefix)
            if pairs is not None:
                pairs.add_video(folder.prefix + entry.name)
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
    if pairs is not None:
        yield from pairs.clips(ignored)
    if alone := [sound for sound in sounds if sound not in heard]:
        ignored[".wav"] += len(alone)
        lost = [sound for sound in alone if not holds_videos(of_layout(sound))]
        notices.extend(without_picture(lost, root))


def make_films_folder(folder: Path) -> None:
    """Make a folder for films, marked as one; a folder that is there is somebody's and stays.

    It appears with its mark: without it, films would be taken for clips.

    Raises:
        CacheUnwritableError: It cannot be made.
    """
    remove_orphans(folder.parent)
    if folder.exists():
        return
    try:
        with whole_folder(folder) as draft:
            (draft / _MARK).touch()
    except CacheUnwritableError:
        if not folder.is_dir():  # else another process has just made it
            raise


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


def _in_folders(
    names: Mapping[str, int | None], ignored: Counter[str]
) -> Iterator[tuple[Folder, _Named]]:
    """Yield every name that lies in no hidden folder, with the folder it is in."""
    inside: dict[str, set[str]] = {}
    drawn = set()
    for path in names:
        prefix, _, name = path.rpartition("/")
        if name == _MARK:
            drawn.add(f"{prefix}/")
        while prefix:
            outer, _, folder = prefix.rpartition("/")
            inside.setdefault(f"{outer}/" if outer else "", set()).add(folder)
            prefix = outer
    folders = {"": Folder("")}

    def folder_of(prefix: str) -> Folder:
        if prefix not in folders:
            outer = above(prefix)
            name = prefix[len(outer) : -1]
            folders[prefix] = inner_folder(folder_of(outer), name, inside[outer])
        return folders[prefix]

    for path, size in names.items():
        at = path.rfind("/") + 1
        prefix = path[:at]
        if prefix.startswith(".") or "/." in prefix:
            continue
        if not any(prefix.startswith(one) for one in drawn):
            yield folder_of(prefix), _Named(path[at:], size)
    if drawn:
        ignored[DRAWN] += len(drawn)


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
