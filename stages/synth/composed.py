"""`avpipe synth --photos`: a folder of clips composed of one's own photographs and recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ...errors import UsageError
from . import NUM_OBJECTS
from .again import PLACES
from .compose import Casting, ComposedClip, encode_composed
from .folder import Blueprint, versions
from .lists import csv_text
from .material import Material, shown
from .run import check_arguments
from .scenes import plan_clips
from .split import Cast, ComposedClass, draw_cast

FORMAT = "avpipe.composed/1"
SIZE = (0.30, 0.42)
"""Bounds of the geometric mean of an object's sides, as shares of the picture's."""

NOISE_DB = (12.0, 30.0)
MAX_NOISE_DB = 100.0
PREFIX = "composed"
MADE_OF = "made_of.csv"


def check_composed(
    clips: int,
    num_test: int | None,
    seed: int,
    num_objects: int,
    size: tuple[float, float],
    noise_db: tuple[float, float],
) -> None:
    """Refuse what no composed world can have, before its material is read.

    Raises:
        UsageError: An argument is out of range.
    """
    check_arguments(clips, num_test, seed, num_objects, size)
    if not 0 <= noise_db[0] <= noise_db[1] <= MAX_NOISE_DB:
        raise UsageError(
            f"--noise {noise_db[0]},{noise_db[1]}: needs 0 <= low <= high <= {MAX_NOISE_DB:.0f}"
        )


def plan_composed(
    material: Material,
    *,
    clips: int,
    seed: int = 0,
    num_objects: int = NUM_OBJECTS,
    size: tuple[float, float] = SIZE,
    noise_db: tuple[float, float] = NOISE_DB,
    num_test: int | None = None,
    held_out: str | None = None,
    splits: Path | None = None,
) -> tuple[Blueprint, tuple[str, ...]]:
    """Plan a world; return it, and what is to be told of its material.

    Args:
        material: From `read_material`.
        clips: Training clips.
        seed: Of splits, held-out classes, clips, pixels, samples.
        num_objects: Objects per picture, 2 or 3; exactly one sounds, none in an off-screen clip.
        size: Bounds of the geometric mean of an object's sides as shares of the picture's.
        noise_db: Bounds of how far pink noise lies below the sound.
        num_test: Test clips; None: 30 % of the training clips.
        held_out: As for `draw_cast`.
        splits: As for `draw_cast`.

    Raises:
        InputError: The material does not do for a world.
        UsageError: An argument is out of range.
    """
    check_composed(clips, num_test, seed, num_objects, size, noise_db)
    cast = draw_cast(material, seed, held_out=held_out, splits=splits, num_objects=num_objects)
    casting = Casting(seed, cast, size, num_objects)
    plan = plan_clips(
        seed, cast.classes, num_train=clips, num_test=num_test, num_objects=num_objects,
        size=size, arrange=casting.arrange, prefix=PREFIX,
    )  # fmt: skip
    composed = [casting.complete(clip) for clip in plan]
    parameters: dict[str, object] = {
        "seed": seed,
        "clips": clips,
        "test": len(composed) - clips,
        "classes": len(cast.classes),
        "objects": num_objects,
        "size": list(map(float, size)),
        "noise_db": list(map(float, noise_db)),
        "held_out": [one.name for one in cast.classes if one.held_out],
        "material": cast.digest,
    }
    blueprint = Blueprint(
        format=FORMAT,
        parameters=parameters,
        versions=versions() | {name: version(name) for name in ("pillow", "soxr")},
        record={
            "class_list": [_class_record(one) for one in cast.classes],
            "backgrounds": {split: len(files) for split, files in cast.backgrounds.items()},
        },
        seed=seed,
        classes=cast.classes,
        clips=composed,
        encode=partial(encode_composed, seed=seed, noise_db=noise_db),
        texts={MADE_OF: _made_of(composed, num_objects), PLACES: _places(material, splits)},
    )
    return blueprint, (*cast.notes, *_reuse(cast, composed))


def _class_record(one: ComposedClass) -> dict[str, object]:
    return {
        "name": one.name,
        "held_out": one.held_out,
        "photos": {split: len(files) for split, files in one.photos.items()},
        "sounds": {split: len(files) for split, files in one.sounds.items()},
    }


def _made_of(clips: Sequence[ComposedClip], num_objects: int) -> str:
    """Return which files each clip is made of, the sounding object's photograph first."""
    columns = [f"photo{number + 1}" for number in range(num_objects)]
    rows = []
    for clip in clips:
        names = [clip.recording.name, clip.background.name, *(file.name for file in clip.photos)]
        blank = [""] * (num_objects - len(clip.photos))
        rows.append([clip.clip_id, *map(shown, names), *blank])
    return csv_text(["id", "sound", "background", *columns], rows)


def _places(material: Material, splits: Path | None) -> str:
    """Return where the material lay: `cases` composes other clips of it."""
    places = {f"{kind}s": str(folder.absolute()) for kind, folder in material.folders.items()}
    places |= {"splits": str(splits.absolute())} if splits else {}
    return json.dumps(places) + "\n"


def _reuse(cast: Cast, clips: Sequence[ComposedClip]) -> tuple[str, ...]:
    """Say once that there are fewer recordings than clips."""
    told = []
    for split in ("train", "test"):
        num_clips = sum(clip.split == split for clip in clips)
        num_sounds = sum(len(one.sounds[split]) for one in cast.classes)
        if num_sounds < num_clips:
            told.append(f"{num_sounds} recordings make {num_clips} clips of {split}")
    if not told:
        return ()
    return (f"recordings are used more than once: {', '.join(told)}",)
