"""Pictures beside their sounds, as the peers' data sets lie in folders; no file is opened."""

# ruff: noqa: PTH122 - millions of names stay plain strings

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from .lists import shown

_NUM_NAMED = 3
_LAYOUTS = {"frames": "audio", "visual_frames": "audio_wav", "images": "audio_wav"}
"""Folders of pictures, and those of their sounds beside them (EZ-VSL; AVSBench and VPO; IS3)."""
_DEEP = "audio_wav"
"""Beside it, pictures lie in folders too: AVSBench has one for the five of every sound."""
PICTURES = (".jpg", ".jpeg", ".png")
"""Suffixes of pictures that pair with a sound of their key, the first that is there counts."""
SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac")


class FoundFile(NamedTuple):
    """A clip's file, and a picture's sound; both relative to the folder searched.

    `source` is what several pictures of one sound share.
    """

    path: str
    bytes: int
    audio_path: str | None = None
    source: str | None = None


class Folder(NamedTuple):
    """A folder on the way; prefixes are relative to the folder searched, empty or ending in `/`.

    Attributes:
        prefix: Its own.
        pictures: Of the folder of pictures that it is, or lies in.
        sounds: Of the folder of sounds beside that one, or that this is, or lies in.
    """

    prefix: str
    pictures: str | None = None
    sounds: str | None = None


class Sounds:
    """The sounds of layouts, by the pictures that they belong to."""

    def __init__(self, sounds: list[str]) -> None:
        """Keep the sounds, relative to the folder searched."""
        self._there = set(sounds)
        self._of_stem: dict[str, list[str]] = {}
        for sound in sounds:
            self._of_stem.setdefault(_stem(sound), []).append(sound)

    def of(self, folder: Folder, name: str, size: int) -> FoundFile:
        """Return a picture with its sound: of its own name, or of the folder that it lies in.

        AVSBench's MS3 has folders of splits among its sounds alone: there the name decides, as long
        as one sound of the layout has it.
        """
        assert folder.pictures is not None and folder.sounds is not None
        own = f"{folder.sounds}{os.path.splitext(name)[0]}.wav"
        inside = folder.prefix.removeprefix(folder.pictures).removesuffix("/")
        path = folder.prefix + name
        if not inside:
            return FoundFile(path, size, own)
        beside = f"{folder.sounds}{inside}.wav"
        source = inside[inside.rfind("/") + 1 :]
        if beside not in self._there:
            alike = [s for s in self._of_stem.get(source, []) if s.startswith(folder.sounds)]
            if len(alike) == 1:
                beside = alike[0]
        return FoundFile(path, size, beside, source)


class KeyPairs:
    """Pictures and sounds of one key, as WebDataset packs them: `KEY.jpg` and `KEY.wav` of a tar.

    A key is a name without its suffix. Where a video has it, picture and sound are made of that.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._pictures: dict[str, dict[str, tuple[str, int]]] = {}
        self._sounds: dict[str, dict[str, tuple[str, int]]] = {}
        self._of_videos: set[str] = set()

    def add(self, path: str, size: int) -> bool:
        """Take a file that may be half of a clip; return whether it is."""
        key, suffix = os.path.splitext(path)
        suffix = suffix.lower()
        if suffix not in PICTURES and suffix not in SOUNDS:
            return False
        halves = self._pictures if suffix in PICTURES else self._sounds
        kinds = halves.setdefault(key, {})
        return kinds.setdefault(suffix, (path, size))[0] == path

    def add_video(self, path: str) -> None:
        """Take a video: its key is no pair."""
        self._of_videos.add(os.path.splitext(path)[0])

    def clips(self, ignored: Counter[str]) -> Iterator[FoundFile]:
        """Yield the pairs; of several pictures or sounds of a key the first kind counts.

        Args:
            ignored: Counts of the files left alone by suffix, added to.
        """
        left = Counter(
            suffix
            for halves in (self._pictures, self._sounds)
            for kinds in halves.values()
            for suffix in kinds
        )
        for key, pictures in self._pictures.items():
            sounds = self._sounds.get(key)
            if sounds is None or key in self._of_videos:
                continue
            picture = next(suffix for suffix in PICTURES if suffix in pictures)
            sound = next(suffix for suffix in SOUNDS if suffix in sounds)
            left.subtract((picture, sound))
            yield FoundFile(*pictures[picture], sounds[sound][0])
        ignored.update(+left)


def _stem(path: str) -> str:
    return os.path.splitext(path[path.rfind("/") + 1 :])[0]


def suffixes_of(folder: Folder) -> tuple[str, ...]:
    """Return the pictures that a layout has; masks beside `frames` are often PNG."""
    deep = folder.sounds is not None and folder.sounds.endswith(f"{_DEEP}/")
    return (".jpg", ".png") if deep else (".jpg",)


def above(prefix: str) -> str:
    """Return the prefix of the folder that a folder, whose prefix ends in a slash, lies in."""
    return prefix[: prefix.rfind("/", 0, -1) + 1]


def of_layout(sound: str) -> str:
    """Return the prefix of the folder that holds the folder of a sound, and pictures beside it."""
    at = f"/{sound}".rfind(f"/{_DEEP}/")
    return sound[:at] if at >= 0 else above(sound[: sound.rfind("/") + 1])


def without_picture(sounds: list[str], root: str) -> list[str]:
    """Name sounds that have no picture, in one line."""
    if not sounds:
        return []
    names = ", ".join(shown(name) for name in sorted(sounds)[:_NUM_NAMED])
    more = f" and {len(sounds) - _NUM_NAMED} more" if len(sounds) > _NUM_NAMED else ""
    number = "a sound has" if len(sounds) == 1 else f"{len(sounds)} sounds have"
    beside = "visual_frames" if any(_DEEP in name.split("/") for name in sounds) else "frames"
    return [f"{shown(root)}: {number} no picture in {beside}: {names}{more}"]


def inner_folder(folder: Folder, name: str, beside: AbstractSet[str]) -> Folder:
    """Return a folder inside another; `beside` are the names of all that the other holds."""
    prefix = f"{folder.prefix}{name}/"
    if folder.sounds is not None:  # inside a layout, where one that is not deep ends
        deep = folder.sounds.endswith(f"{_DEEP}/")
        return folder._replace(prefix=prefix) if deep else Folder(prefix)
    if (sounds := _LAYOUTS.get(name)) in beside:
        return Folder(prefix, prefix, f"{folder.prefix}{sounds}/")
    if any(pictures in beside for pictures, sounds in _LAYOUTS.items() if sounds == name):
        return Folder(prefix, None, prefix)
    return Folder(prefix)
