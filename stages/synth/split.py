"""Which classes a composed world has, and which of its files are for training and for test."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Literal, get_args

from ...errors import InputError, UsageError
from ...reading import open_regular
from .load import MaterialFile, MaterialKind
from .material import Material, label_of, shown

Split = Literal["train", "test"]
BySplit = dict[str, tuple[MaterialFile, ...]]
TEST_FILES = 0.3
"""Share of each class's files, and of the backgrounds, that only test clips are made of."""

HELD_OUT_SHARE = 6
"""Of so many classes one is held out of training, unless somebody says which or how many."""

_NOUNS: dict[MaterialKind, str] = {"photo": "photograph", "sound": "recording"}


@dataclass(frozen=True)
class ComposedClass:
    """A class with its files; training neither shows nor sounds it where it is held out."""

    name: str
    held_out: bool
    photos: BySplit
    sounds: BySplit


@dataclass(frozen=True)
class Cast:
    """What clips are made of.

    Attributes:
        classes: In the order of their names.
        backgrounds: By split.
        notes: What was left out, and why, for people.
    """

    classes: tuple[ComposedClass, ...]
    backgrounds: BySplit
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of everything that clips are made of: contents, names, classes, splits."""
        lines = [
            "\0".join((file.kind, file.label, file.name, file.digest, split))
            for files in (
                *(files for one in self.classes for files in (one.photos, one.sounds)),
                self.backgrounds,
            )
            for split in get_args(Split)
            for file in files[split]
        ]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def draw_cast(
    material: Material, seed: int, *, held_out: str | None, splits: Path | None, num_objects: int
) -> Cast:
    """Choose classes and split their files.

    A class without files for a split is left out. Of each class 30 % of the photographs and of the
    recordings are for test, of a class that is held out all; which ones follows from the seed and
    their content. With a list, the list says.

    Args:
        material: What there is.
        seed: Of the world.
        held_out: Names of classes, separated by commas, or how many; None: one of six.
        splits: A CSV with columns `path`, relative to its folder, and `split`: `train` or `test`.
        num_objects: Objects in a picture.

    Raises:
        InputError: Too few classes or backgrounds are left, or the list cannot be read.
        UsageError: `held_out` fits no class, or leaves too few.
    """
    division = _Division(seed, None if splits is None else read_splits(splits))
    names, notes = _complete(material)
    held = _held_out(names, seed, held_out)
    classes = []
    for name in names:
        photos, sounds = (
            division.of(material.of(kind, name), only_test=name in held)
            for kind in ("photo", "sound")
        )
        wanted = ("test",) if name in held else get_args(Split)
        lacking = [
            f"{noun} for {_PURPOSE[split]}"
            for noun, files in zip(_NOUNS.values(), (photos, sounds), strict=True)
            for split in wanted
            if not files[split]
        ]
        if lacking:
            notes.append(f"class {name} is left out: no {', no '.join(lacking)}")
        else:
            classes.append(ComposedClass(name, name in held, photos, sounds))
    _check_enough(material, classes, held_out, num_objects, notes)
    backgrounds = division.of(material.of("background"), only_test=False)
    if lacking := [split for split in get_args(Split) if not backgrounds[split]]:
        raise InputError(
            f"{material.folders['background']}: no background for {_PURPOSE[lacking[0]]}; at least"
            " one for training and another for test are needed"
        )
    return Cast(tuple(classes), backgrounds, (*notes, *division.notes))


def _check_enough(
    material: Material,
    classes: Sequence[ComposedClass],
    held_out: str | None,
    num_objects: int,
    notes: Sequence[str],
) -> None:
    """Refuse to train on fewer classes than a picture shows."""
    trained = sum(not one.held_out for one in classes)
    if trained < num_objects:
        if held_out not in (None, "0") and len(classes) >= num_objects:
            raise UsageError(
                f"--held-out {held_out}: leaves {trained} to train with, at least {num_objects}"
                " classes are needed"
            )
        raise InputError(
            f"{material.folders['photo']}, {material.folders['sound']}: too few classes to train"
            f" with: {trained}, at least {num_objects} are needed"
            + "".join(f"; {note}" for note in notes[:5])
        )


_PURPOSE: dict[str, str] = {"train": "training", "test": "test"}


def _complete(material: Material) -> tuple[list[str], list[str]]:
    """Return the classes with a photograph and a recording, and what others lack."""
    names = []
    notes = [
        f"{material.folders[kind]} has no folder for a class"
        for kind in _NOUNS
        if not material.labels[kind]
    ]
    if notes:
        return [], notes
    notes += [
        f"{material.folders[kind]}: {num} {_NOUNS[kind]}{'s' if num > 1 else ''} in no folder of a"
        f" class, left out: {shown(first)}{', ...' if num > 1 else ''}"
        for kind, (num, first) in material.unsorted.items()
    ]
    for name in sorted({*material.labels["photo"], *material.labels["sound"]}):
        lacking = []
        for kind, noun in _NOUNS.items():
            if name not in material.labels[kind]:
                lacking.append(f"no folder in {material.folders[kind]}")
            elif not material.of(kind, name):
                lacking.append(f"no {noun} that can be used")
        if lacking:
            notes.append(f"class {name} is left out: {', '.join(lacking)}")
        else:
            names.append(name)
    return names, notes


def _held_out(names: Sequence[str], seed: int, wanted: str | None) -> set[str]:
    """Return the classes that are held out."""
    text = str(len(names) // HELD_OUT_SHARE) if wanted is None else wanted.strip()
    if text.isdecimal() and text not in names:
        if int(text) >= max(len(names), 1):
            raise UsageError(f"--held-out {text}: of {len(names)} classes")
        return set(sorted(names, key=lambda name: _draw(seed, name))[: int(text)])
    held = (
        {label_of(text)}
        if label_of(text) in names
        else {label_of(part.strip()) for part in text.split(",")}
    )
    if unknown := sorted(held.difference(names)):
        raise UsageError(
            f"--held-out {unknown[0]}: no such class; there are {', '.join(names) or 'none'}"
        )
    return held


class _Division:
    """Divides files into those for training and those for test."""

    def __init__(self, seed: int, listed: dict[str, str] | None) -> None:
        self._seed, self._listed = seed, listed
        self._num_unlisted = 0

    def of(self, files: Sequence[MaterialFile], *, only_test: bool) -> BySplit:
        """Divide the files of one class, or the backgrounds; `only_test`: none is for training."""
        if self._listed is not None:
            where = [self._listed.get(os.path.realpath(file.path), "") for file in files]
            self._num_unlisted += where.count("")
        else:
            order = sorted(files, key=lambda file: _draw(self._seed, file.digest))
            num_test = max(1, round(TEST_FILES * len(files)))
            test = {file.digest for file in (order if only_test else order[:num_test])}
            where = ["test" if file.digest in test else "train" for file in files]
        return {
            split: tuple(file for file, its in zip(files, where, strict=True) if its == split)
            if not (only_test and split == "train")
            else ()
            for split in get_args(Split)
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What the list does not name."""
        if not self._num_unlisted:
            return ()
        return (f"{self._num_unlisted} files are left out: --splits has no split for them",)


def _draw(seed: int, text: str) -> str:
    """Return where a text comes in an order that the seed draws, whatever else there is."""
    content = f"{seed}\0{text}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(content).hexdigest()


def read_splits(path: Path) -> dict[str, str]:
    """Read which split each file is of.

    Other splits than `train` and `test`, and files that are not there, are of no concern.

    Raises:
        InputError: The list cannot be read, or lacks a column.
    """
    try:
        with open_regular(path) as file:
            text = TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
            rows = list(csv.DictReader(text))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name the list with --splits") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: no CSV ({error})") from None
    for number, row in enumerate(rows, 2):
        if lacking := [name for name in ("path", "split") if not row.get(name)]:
            raise InputError(f"{path}: line {number} has no {lacking[0]}")
        if "\0" in row["path"]:
            raise InputError(f"{path}: line {number}: the path holds a NUL")
    return {
        os.path.realpath(path.parent / row["path"]): row["split"]
        for row in rows
        if row["split"] in get_args(Split)
    }
