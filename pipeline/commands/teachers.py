"""Commands that run pretrained networks over the cache."""

from typing import Annotated, Literal

import typer

from .. import output
from ..options import (
    DEFAULT_CACHE,
    DEFAULT_THREADS,
    PRETRAINED,
    BatchSize,
    Cache,
    Device,
    DryRun,
    HoldOut,
    Ids,
    Json,
    Overwrite,
    Threads,
    Weights,
)
from ..settings import Example

VisualHint = Literal["backbone", "encoder"]


def embed_teachers(
    cache: Cache = DEFAULT_CACHE,
    visual: Annotated[
        str, typer.Option("--visual", metavar="NAME", help="The teacher that sees, or none.")
    ] = "detr-r50",
    audio: Annotated[
        str, typer.Option("--audio", metavar="NAME", help="The teacher that hears, or none.")
    ] = "panns-wavegram",
    visual_hint: Annotated[
        VisualHint,
        typer.Option("--visual-hint", help="Which of DETR's outputs: 2048 or 256 channels."),
    ] = "backbone",
    visual_size: Annotated[
        int | None,
        typer.Option(
            "--visual-size",
            metavar="PX",
            min=1,
            show_default="the teacher's",
            help="Side of the frames that the visual teacher sees, where it can: mobilenet-v2.",
        ),
        Example(448),
    ] = None,
    objects: Annotated[
        bool, typer.Option("--objects", help="Store also where DETR sees objects, as a map.")
    ] = False,
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = DEFAULT_THREADS,
    batch_size: BatchSize = 32,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let each teacher see or hear every clip once; run it again to resume."""
    from ..teachers import TeacherSettings, embed_teachers, estimate

    settings = TeacherSettings(
        cache=cache,
        visual=visual,
        audio=audio,
        weights=tuple(weights or PRETRAINED),
        device=device,
        threads=threads,
        batch_size=batch_size,
        overwrite=overwrite,
        visual_hint=visual_hint,
        visual_size=visual_size,
        objects=objects,
    )
    if dry_run:
        output.show(estimate(settings, "hints"), json, output.estimate_text)
    else:
        output.show(embed_teachers(settings), json, output.teachers_text)


def knn(
    cache: Cache = DEFAULT_CACHE,
    k: Annotated[
        int, typer.Option("--k", metavar="N", min=1, help="Neighbours of each clip.")
    ] = 1000,
    image: Annotated[
        str,
        typer.Option(
            "--image",
            metavar="NAME",
            help="What compares frames: a teacher, run:RUN (where a run sees the sound), or none.",
        ),
    ] = "imagenet-resnet18",
    audio: Annotated[
        str,
        typer.Option(
            "--audio",
            metavar="NAME",
            help="What compares sounds: a teacher, run:RUN (the encoder of a run), or none.",
        ),
    ] = "vggsound-resnet18",
    ids: Ids = None,
    hold_out: HoldOut = None,
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = DEFAULT_THREADS,
    batch_size: BatchSize = 32,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Embed every clip and find its nearest others, by sight and by sound."""
    from ..teachers import NeighborSettings, TeacherSettings, estimate, search_neighbors

    settings = TeacherSettings(
        cache=cache,
        visual=image,
        audio=audio,
        weights=tuple(weights or PRETRAINED),
        device=device,
        threads=threads,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    if dry_run:
        output.show(estimate(settings, "embeddings"), json, output.estimate_text)
    else:
        search = NeighborSettings(k=k, ids=ids, hold_out=hold_out)
        output.show(search_neighbors(settings, search), json, output.teachers_text)
