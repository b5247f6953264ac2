"""The material of a composed world: folders of photographs and recordings by class, backgrounds."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ...errors import ClipError, InputError
from ..workers import Workers
from ..workers.pool import run_in_workers
from .load import MaterialFile, MaterialKind, keep, read

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"))
SOUNDS = frozenset((
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".webm", ".mka",
    ".mkv", ".aac",
))  # fmt: skip
_CHUNK = 16


@dataclass(frozen=True)
class Material:
    """What was found.

    Attributes:
        folders: Of photographs, recordings and backgrounds, by kind.
        labels: Every class that has a folder of photographs or of recordings.
        files: What can be used, in the order of kinds, classes and names.
        unusable: Name and reason of every file that cannot.
        num_other: Files of other kinds, which were left alone.
        unsorted: How many pictures or recordings lie beside the folders of the classes, by kind,
            and the name of the first.
    """

    folders: dict[MaterialKind, Path]
    labels: dict[MaterialKind, tuple[str, ...]]
    files: tuple[MaterialFile, ...]
    unusable: tuple[tuple[str, str], ...]
    num_other: int
    unsorted: Mapping[MaterialKind, tuple[int, str]]

    def of(self, kind: MaterialKind, label: str = "") -> list[MaterialFile]:
        """Return the files of a kind and class."""
        return [file for file in self.files if (file.kind, file.label) == (kind, label)]


def read_material(
    photos: Path,
    sounds: Path,
    backgrounds: Path,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Material:
    """Find every file and decode it once.

    A folder in `photos` and one in `sounds` of the same name are a class; folders in them count as
    theirs. A file whose bytes another file has is left out.

    Args:
        photos: Folder of folders of pictures.
        sounds: Folder of folders of recordings.
        backgrounds: Folder of pictures.
        jobs: Processes.
        progress: Called with (files read, files found).

    Raises:
        InputError: A folder is missing, or two folders would be one class.
    """
    folders: dict[MaterialKind, Path] = {
        "photo": photos,
        "sound": sounds,
        "background": backgrounds,
    }
    found: list[MaterialFile] = []
    labels: dict[MaterialKind, tuple[str, ...]] = {}
    unsorted: dict[MaterialKind, tuple[int, str]] = {}
    num_other = 0
    for kind, folder in folders.items():
        suffixes = SOUNDS if kind == "sound" else PICTURES
        try:
            if kind != "background" and (loose := _loose(folder, suffixes)):
                unsorted[kind] = len(loose), loose[0]
            places = {"": folder} if kind == "background" else _class_folders(folder)
            files = [
                MaterialFile(
                    kind, label, PurePath(path).relative_to(folder).as_posix(), path, "", ()
                )
                for label, place in sorted(places.items())
                for path in _files(place)
            ]
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"{error.filename or folder}: {reason}; name it with --{kind}s"
            ) from None
        wanted = [file for file in files if PurePath(file.path).suffix.lower() in suffixes]
        labels[kind] = tuple(sorted(places))
        num_other += len(files) - len(wanted)
        found += wanted
    usable, unusable = _decoded(found, jobs, progress)
    return Material(folders, labels, tuple(usable), tuple(unusable), num_other, unsorted)


def label_of(name: str) -> str:
    """Return the class that a folder's name stands for.

    Lists separate classes by spaces and columns by commas, so these, quotes and what cannot be
    printed become `_`.
    """
    name = unicodedata.normalize("NFC", name)
    return "".join(sign if sign.isprintable() and sign not in " ,;\"'" else "_" for sign in name)


def shown(name: str) -> str:
    """Return a file's name as text that can be written, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()


def _class_folders(folder: Path) -> dict[str, Path]:
    places: dict[str, Path] = {}
    for place in sorted(folder.iterdir(), key=os.fsencode):
        if place.is_dir() and not place.name.startswith("."):
            label = label_of(place.name)
            if label in places:
                raise InputError(
                    f"{shown(str(place))} and {shown(places[label].name)} would both be class"
                    f" {label}; rename one"
                )
            places[label] = place
    return places


def _loose(folder: Path, suffixes: Collection[str]) -> list[str]:
    """Return the names of files that could be used, were they in the folder of a class."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def _files(folder: Path) -> list[str]:
    """Return the paths of the files in a folder and in those below, hidden ones left out."""

    def stop(error: OSError) -> None:
        raise error

    found = []
    for place, inside, names in os.walk(folder, onerror=stop):
        inside[:] = [name for name in inside if not name.startswith(".")]
        found += [os.path.join(place, n) for n in names if not n.startswith(".")]  # noqa: PTH118 - surrogate-escaped names are strings
    return sorted(found, key=os.fsencode)


def _decoded(
    found: Sequence[MaterialFile], jobs: int, progress: Callable[[int, int], None] | None
) -> tuple[list[MaterialFile], list[tuple[str, str]]]:
    """Return the files that can be used with their digests, and why others cannot."""
    results: dict[int, MaterialFile | str] = {}

    def take(part: list[tuple[int, MaterialFile | str]]) -> None:
        results.update(part)
        if progress:
            progress(len(results), len(found))

    take([])
    numbered = list(enumerate(found))
    chunks = [numbered[at : at + _CHUNK] for at in range(0, len(numbered), _CHUNK)]
    run_in_workers(chunks, _read_chunk, take, workers=Workers(min(jobs, len(chunks))))
    usable: list[MaterialFile] = []
    unusable: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    for index, file in numbered:
        result = results[index]
        if isinstance(result, str):
            unusable.append((file.path, result))
        elif (other := first.setdefault(result.digest, file.path)) != file.path:
            unusable.append((file.path, f"the same bytes as {other}"))
        else:
            usable.append(result)
    return usable, unusable


def _read_chunk(
    chunk: Sequence[tuple[int, MaterialFile]],
) -> list[tuple[int, MaterialFile | str]]:
    results: list[tuple[int, MaterialFile | str]] = []
    for index, file in chunk:
        try:
            content, digest = read(file.kind, file.path)
        except ClipError as error:
            results.append((index, str(error)))
        else:
            keep(digest, content)
            results.append((index, replace(file, digest=digest, shape=content.shape)))
    return results
