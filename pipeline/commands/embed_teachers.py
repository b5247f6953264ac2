"""`avpipe embed-teachers`: each teacher sees or hears every clip once."""

from typing import Annotated, Literal

import typer

from ...cache.defaults import AUDIO_TEACHER, VISUAL_TEACHER
from ...errors import UsageError
from ...machine import AUTO
from ...stages.embed import BATCH_SIZE
from ...stages.teachers import FLOAT32, Precision
from .. import output
from ..options import (
    DEFAULT_CACHE,
    PRETRAINED,
    BatchSize,
    Cache,
    Device,
    DryRun,
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
    ] = VISUAL_TEACHER,
    audio: Annotated[
        str, typer.Option("--audio", metavar="NAME", help="The teacher that hears, or none.")
    ] = AUDIO_TEACHER,
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
    device: Device = AUTO,
    threads: Threads = AUTO,
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="What networks compute in on a CPU; bf16, where the CPU has it, is faster and "
            "rounds.",
        ),
    ] = FLOAT32,
    batch_size: BatchSize = BATCH_SIZE,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let each teacher see or hear every clip once; run it again to resume."""
    from ...cache.schema import HINTS, OBJECTS
    from ...stages.teachers.protocol import choices
    from ..networks.choose import require_some, require_weights, teacher_of, with_output
    from ..networks.run_encoder import is_run

    if is_run(visual):
        raise UsageError(f"--visual {visual}: a run compares frames, for knn")
    seen = [with_output(name, visual_hint, visual_size) for name in teacher_of("visual", visual)]
    heard = teacher_of("audio", audio)
    if visual_size is not None and not seen:
        raise UsageError(f"--visual-size {visual_size}: there is no visual teacher")
    drawn = choices(OBJECTS) if objects else []
    names = require_some([*seen, *heard, *drawn])
    if dry_run:
        from ..networks.dry_run import estimate, estimate_text

        kinds = [*[HINTS] * len(seen + heard), *[OBJECTS] * len(drawn)]
        found = estimate(cache, list(zip(kinds, names, strict=True)), device, audio)
        output.show(found, json, estimate_text)
        return
    if is_run(audio):
        raise UsageError(f"--audio {audio}: a run compares sounds, for knn and cluster")
    from ...cache.store import Cache
    from ...stages.embed import run as stage
    from ..networks.threads import network_threads
    from ..tally import todo_notices
    from ..watch import watch_stages

    opened = Cache(cache)  # before the network that tries threads is loaded
    specs = tuple(weights or PRETRAINED)
    require_weights(cache, names, specs)
    with network_threads(threads, device), watch_stages() as progress:
        done = stage.embed(
            opened, HINTS, [*seen, *heard], objects=drawn, specs=specs, device=device,
            batch_size=batch_size, overwrite=overwrite, precision=precision, progress=progress,
        )  # fmt: skip
    document = {**done.as_json(), "notices": todo_notices(cache)}
    output.show(document, json, output.teachers_text)
