"""The worlds that hard cases are made of: drawn ones, and those composed of one's own material."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import ClipError, InputError
from ...reading import open_regular, parse_json, read_regular
from .again import PLACES
from .compose import Casting, ComposedClip, composed_frames, excerpt
from .composed import FORMAT, MADE_OF
from .encode import encode
from .hard import Case, encode_case, plan_cases, read_world
from .load import MaterialFile, MaterialKind, load, read
from .scenes import NamedClass, SynthClip, place_px
from .split import Cast, ComposedClass
from .timbre import NUM_SAMPLES
from .world import CASES, SynthClass

_MOST_FILES = 12
"""Photographs and recordings of a class, and backgrounds, that cases are composed of."""

_MIN_CLASSES = 3
_PEAK = 0.9


class CaseWorld(Protocol):
    """A world that cases can be made of."""

    @property
    def classes(self) -> Sequence[NamedClass]:
        """Its classes."""

    def plan(self, each: int) -> list[Case]:
        """Plan so many clips of each case."""

    def encode(self, case: Case) -> bytes:
        """Return a case's clip as MP4."""


def open_world(folder: Path) -> CaseWorld:
    """Read a world of `avpipe synth`.

    Raises:
        InputError: The folder is none, or the material of a composed world is not where it was.
    """
    try:
        made = parse_json(read_regular(folder / "world.json"))
    except (OSError, ValueError):
        made = None
    if isinstance(made, dict) and made.get("format") == FORMAT:
        return _read_composed(folder, made)
    return _DrawnWorld(*read_world(folder))


@dataclass(frozen=True)
class _DrawnWorld:
    seed: int
    classes: tuple[SynthClass, ...]
    size: tuple[float, float]

    def plan(self, each: int) -> list[Case]:
        return plan_cases(self.seed, self.classes, each=each, size=self.size)

    def encode(self, case: Case) -> bytes:
        return encode_case(case, self.classes, self.seed)


@dataclass(frozen=True)
class _ComposedWorld:
    seed: int
    cast: Cast
    size: tuple[float, float]

    @property
    def classes(self) -> tuple[ComposedClass, ...]:
        return self.cast.classes

    def plan(self, each: int) -> list[Case]:
        casting = Casting(self.seed, self.cast, self.size, num_objects=3)

        def complete(
            rng: np.random.Generator,
            clip: SynthClip,
            shown: Sequence[int],
            sizes: Sequence[tuple[float, float]],
        ) -> SynthClip:
            photos, sizes_px = casting.choose(rng, "test", shown, sizes)
            placed = replace(clip, objects=place_px(rng, shown, sizes_px))
            return ComposedClip(
                **vars(placed),
                photos=photos,
                recording=casting.recording(shown[0], "test"),
                background=casting.background("test"),
            )

        return plan_cases(self.seed, self.classes, each=each, size=self.size, complete=complete)

    def encode(self, case: Case) -> bytes:
        assert isinstance(case.clip, ComposedClip)
        picture_rng = np.random.default_rng([self.seed, CASES, 1, case.clip.index])
        sound_rng = np.random.default_rng([self.seed, CASES, 2, case.clip.index])
        return encode(composed_frames(case.clip, picture_rng), self._mix(case.heard, sound_rng))

    def _mix(self, heard: Sequence[int], rng: np.random.Generator) -> NDArray[np.float32]:
        """Play a recording of each class together, equally loud; none of them is silence."""
        if not heard:
            return np.zeros((1, NUM_SAMPLES), np.float32)
        waves = []
        for one in heard:
            files = self.classes[one].sounds["test"]
            wave = excerpt(load(files[rng.integers(len(files))]), rng)
            waves.append(wave / max(float(wave.std()), 1e-6))
        total = np.sum(waves, axis=0)
        mixed: NDArray[np.float32] = (total * _PEAK / np.abs(total).max())[None].astype(np.float32)
        return mixed


def _read_composed(folder: Path, made: dict[str, Any]) -> _ComposedWorld:
    """Read a composed world: cases are of the files that its test clips are made of."""
    try:
        places = parse_json(read_regular(folder / PLACES))
        labels = {row["id"]: row for row in _rows(folder / "labels.csv")}
        names: dict[tuple[MaterialKind, str], dict[str, None]] = {}
        for row in _rows(folder / MADE_OF):
            clip = labels[row["id"]]
            if clip["split"] != "test":
                continue
            classes = [] if clip["offscreen"] == "1" else [clip["label"]]
            photos = [row[name] for name in row if name.startswith("photo")]
            names.setdefault(("sound", clip["label"]), {})[row["sound"]] = None
            names.setdefault(("background", ""), {})[row["background"]] = None
            for label, photo in zip([*classes, *clip["silent"].split()], photos, strict=False):
                names.setdefault(("photo", label), {})[photo] = None
        files = {key: _read_files(*key, places, list(some)) for key, some in names.items()}
        low, high = made["size"]
        classes_of = [
            ComposedClass(
                one["name"],
                one["held_out"],
                {"test": files.get(("photo", one["name"]), ())},
                {"test": files.get(("sound", one["name"]), ())},
            )
            for one in made["class_list"]
        ]
        seed = made["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is not a whole world ({error}); the `avpipe synth` that made it finishes it"
        ) from error
    usable = tuple(c for c in classes_of if c.photos["test"] and c.sounds["test"])
    if sum(not one.held_out for one in usable) < _MIN_CLASSES:
        raise InputError(f"{folder}: hard cases need {_MIN_CLASSES} classes that are trained on and"
                         " tested")  # fmt: skip
    return _ComposedWorld(seed, Cast(usable, {"test": files["background", ""]}, ()), (low, high))


def _rows(path: Path) -> list[dict[str, str]]:
    with TextIOWrapper(open_regular(path), "utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_files(
    kind: MaterialKind, label: str, places: dict[str, str], names: Sequence[str]
) -> tuple[MaterialFile, ...]:
    """Read some files of a kind and class.

    Raises:
        InputError: None of them can be read.
    """
    files = []
    why = ""
    for name in sorted(names)[:_MOST_FILES]:
        path = str(Path(places[f"{kind}s"], name))
        try:
            content, digest = read(kind, path)
        except ClipError as error:
            why = f"{path}: {error}"
        else:
            files.append(MaterialFile(kind, label, name, path, digest, content.shape))
    if not files:
        raise InputError(f"{why}; if the material has moved, the `avpipe synth` that made the world"
                         " takes its new place")  # fmt: skip
    return tuple(files)
