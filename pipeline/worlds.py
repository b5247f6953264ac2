"""`avpipe synth --photos`: from folders of material to a composed world, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..stages.synth.composed import NOISE_DB, SIZE, check_composed, plan_composed
from ..stages.synth.folder import fill
from ..stages.synth.material import Material, read_material, shown
from . import output
from .output import Document
from .watch import watch

_MOST_NAMED = 20


@dataclass(frozen=True)
class Sources:
    """What `synth` is told of a composed world; nothing of it goes with a drawn one.

    Attributes:
        photos: Folder of folders of pictures.
        sounds: Folder of folders of recordings.
        backgrounds: Folder of pictures.
        splits: CSV of splits.
        held_out: Classes kept out of training, or how many.
        noise: Bounds of how far noise lies below the sound, dB.
    """

    photos: Path | None
    sounds: Path | None
    backgrounds: Path | None
    splits: Path | None
    held_out: str | None
    noise: tuple[float, float] | None

    def are_given(self) -> bool:
        """Tell whether the world is composed.

        Raises:
            UsageError: Only some of the folders are named.
        """
        given = {f"--{name.replace('_', '-')}": value for name, value in vars(self).items()}
        named = [name for name, value in given.items() if value is not None]
        lacking = [name for name in list(given)[:3] if name not in named]
        if named and lacking:
            raise UsageError(
                f"{named[0]} goes with --photos, --sounds and --backgrounds: name"
                f" {' and '.join(lacking)} too"
            )
        return bool(named)


def compose(
    out: Path,
    sources: Sources,
    *,
    clips: int,
    seed: int,
    num_objects: int,
    size: tuple[float, float] | None,
    num_test: int | None,
    jobs: int,
) -> Document:
    """Make a composed world, or finish one; tell what of the material is left out.

    Raises:
        InputError: The material does not do for a world.
        UsageError: An option is out of range, or `out` holds something else.
        CacheUnwritableError: `out` cannot be written.
    """
    assert sources.photos and sources.sounds and sources.backgrounds
    options: dict[str, Any] = {
        "clips": clips, "num_test": num_test, "seed": seed, "num_objects": num_objects,
        "size": size or SIZE, "noise_db": sources.noise or NOISE_DB,
    }  # fmt: skip
    check_composed(**options)
    with watch("material", "files") as progress:
        material = read_material(
            sources.photos, sources.sounds, sources.backgrounds, jobs=jobs, progress=progress
        )
    _tell_unusable(material, output.note)
    blueprint, notes = plan_composed(
        material, **options, held_out=sources.held_out, splits=sources.splits
    )
    for line in notes:
        output.note(line)
    with watch("synth") as progress:
        made = fill(out, blueprint, jobs=jobs, progress=progress)
    counts = {
        f"num_{kind}s": sum(file.kind == kind for file in material.files)
        for kind in material.folders
    }
    return {
        **output.synth_json(made),
        **counts,
        "num_unusable": len(material.unusable),
        "unusable": {shown(path): reason for path, reason in material.unusable},
        "notes": list(notes),
    }


def composed_text(document: Document) -> str:
    """Render what was made; what was left out has been told."""
    return output.fields_text(
        {key: value for key, value in document.items() if key not in ("unusable", "notes")}
    )


def _tell_unusable(material: Material, note: Callable[[str], None]) -> None:
    """Name the files that cannot be used."""
    for path, reason in material.unusable[:_MOST_NAMED]:
        note(f"{shown(path)} is left out: {shown(reason)}")
    more = len(material.unusable) - _MOST_NAMED
    if more > 0:
        note(f"and {more} more, which --json names")
    if (other := material.num_other) > 0:
        which = "1 file is" if other == 1 else f"{other} files are"
        note(f"{which} neither picture nor recording by the suffix")
