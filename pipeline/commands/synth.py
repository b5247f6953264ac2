"""`avpipe synth`: labelled clips whose sounding object is known, drawn or composed of material."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UsageError
from ...stages.synth import MIN_TRAINED, NUM_CLASSES, NUM_OBJECTS
from .. import output
from ..options import ALL_CORES, Jobs, Json
from ..output import Document
from ..settings import ONE_RUN

if TYPE_CHECKING:
    from ...stages.synth.folder import SynthSummary
    from ...stages.synth.material import Material

_MOST_NAMED = 20


def synth(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to fill.")],
    clips: Annotated[
        int, typer.Option("--clips", metavar="N", min=1, help="Training clips.")
    ] = 800,
    test: Annotated[
        int | None,
        typer.Option(
            "--test", metavar="N", min=1, show_default="30 % of --clips", help="Test clips."
        ),
        ONE_RUN,
    ] = None,
    classes: Annotated[
        int,
        typer.Option("--classes", metavar="C", min=MIN_TRAINED, help="Kinds of sounding object."),
    ] = NUM_CLASSES,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Which world.")] = 0,
    objects: Annotated[
        int, typer.Option("--objects", metavar="N", min=2, max=3, help="Objects per picture.")
    ] = NUM_OBJECTS,
    size: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--size",
            metavar="LOW HIGH",
            show_default="0.28 0.42; of photographs 0.30 0.42",
            help="An object's share of the side.",
        ),
        ONE_RUN,
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos", metavar="DIR", help="Compose clips: a folder of pictures for each class."
        ),
        ONE_RUN,
    ] = None,
    sounds: Annotated[
        Path | None,
        typer.Option("--sounds", metavar="DIR", help="A folder of recordings for each class."),
        ONE_RUN,
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option("--backgrounds", metavar="DIR", help="A folder of pictures to lay them on."),
        ONE_RUN,
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="NAMES|N",
            show_default="one of six",
            help="With --photos: classes that are not trained on.",
        ),
        ONE_RUN,
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            "--splits",
            metavar="FILE",
            show_default="drawn",
            help="With --photos: a CSV of path and split, train or test.",
        ),
        ONE_RUN,
    ] = None,
    noise: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--noise",
            metavar="LOW HIGH",
            show_default="12 30",
            help="With --photos: dB of noise below the sound.",
        ),
        ONE_RUN,
    ] = None,
    jobs: Jobs = ALL_CORES,
    json: Json = False,
) -> None:
    """Make labelled clips whose sounding object is known."""
    folders = {"--photos": photos, "--sounds": sounds, "--backgrounds": backgrounds}
    require_all(folders, {"--splits": splits, "--held-out": held_out, "--noise": noise})
    options: dict[str, Any] = {
        "clips": clips,
        "num_test": test,
        "seed": seed,
        "num_objects": objects,
    }
    if photos and sounds and backgrounds:
        source = ctx.get_parameter_source("classes")
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError("--classes does not go with --photos: its folders are the classes")
        from ...stages.synth.composed import NOISE_DB, SIZE

        options |= {"size": size or SIZE, "noise_db": noise or NOISE_DB}
        made = compose(out, (photos, sounds, backgrounds), options, held_out, splits, jobs)
        output.show(made, json, composed_text)
        return
    from ...stages.synth import run as drawn
    from ..watch import watch

    with watch("synth") as progress:
        summary = drawn.synth(
            out, **options, classes=classes, size=size or drawn.SIZE, jobs=jobs, progress=progress
        )
    output.show(synth_json(summary), json, output.fields_text)


def require_all(folders: Mapping[str, object], others: Mapping[str, object]) -> None:
    """Check that a composed world is asked for as a whole or not at all.

    Args:
        folders: Options that name the material, and their values.
        others: Options that go with these alone.

    Raises:
        UsageError: Only some of the folders are named.
    """
    named = [name for name, value in {**folders, **others}.items() if value is not None]
    lacking = [name for name in folders if name not in named]
    if named and lacking:
        raise UsageError(
            f"{named[0]} goes with --photos, --sounds and --backgrounds: name"
            f" {' and '.join(lacking)} too"
        )


def compose(
    out: Path,
    folders: tuple[Path, Path, Path],
    options: Mapping[str, Any],
    held_out: str | None,
    splits: Path | None,
    jobs: int,
) -> Document:
    """Make a composed world, or finish one; tell what of the material is left out.

    Args:
        out: Folder to fill.
        folders: Pictures by class, recordings by class, backgrounds.
        options: As `plan_composed` takes them.
        held_out: Classes kept out of training, or how many.
        splits: CSV of splits.
        jobs: Processes.

    Raises:
        InputError: The material does not do for a world.
        UsageError: An option is out of range, or `out` holds something else.
        CacheUnwritableError: `out` cannot be written.
    """
    from ...stages.synth.composed import check_composed, plan_composed
    from ...stages.synth.folder import fill
    from ...stages.synth.material import read_material, shown
    from ..watch import watch

    check_composed(**options)
    with watch("material", "files") as progress:
        material = read_material(*folders, jobs=jobs, progress=progress)
    _tell_unusable(material)
    blueprint, notes = plan_composed(material, **options, held_out=held_out, splits=splits)
    for line in notes:
        output.note(line)
    with watch("synth") as progress:
        made = fill(out, blueprint, jobs=jobs, progress=progress)
    counts = {
        f"num_{kind}s": sum(file.kind == kind for file in material.files)
        for kind in material.folders
    }
    return {
        **synth_json(made),
        **counts,
        "num_unusable": len(material.unusable),
        "unusable": {shown(path): reason for path, reason in material.unusable},
        "notes": list(notes),
    }


def synth_json(summary: "SynthSummary") -> dict[str, Any]:
    """Build the `avpipe.synth/1` document."""
    fields = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(summary).items()
    }
    return {"schema": "avpipe.synth/1", **fields}


def composed_text(document: Document) -> str:
    """Render what was made; what was left out has been told."""
    return output.fields_text(
        {key: value for key, value in document.items() if key not in ("unusable", "notes")}
    )


def _tell_unusable(material: "Material") -> None:
    """Name the files that cannot be used."""
    from ...stages.synth.material import shown

    for path, reason in material.unusable[:_MOST_NAMED]:
        output.note(f"{shown(path)} is left out: {shown(reason)}")
    more = len(material.unusable) - _MOST_NAMED
    if more > 0:
        output.note(f"and {more} more, which --json names")
    if (other := material.num_other) > 0:
        which = "1 file is" if other == 1 else f"{other} files are"
        output.note(f"{which} neither picture nor recording by the suffix")
