"""`avpipe embed-teachers`: each teacher sees or hears every clip once."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...cache.defaults import AUDIO_TEACHER, VISUAL_TEACHER
from ...errors import UsageError
from ...machine import AUTO
from ...stages.embed import BATCH_SIZE
from ...stages.teachers import FLOAT32, Precision
from ...stages.workers import BACKEND, Workers
from .. import output
from ..options import (
    DEFAULT_CACHE,
    PRETRAINED,
    Backend,
    BatchSize,
    Cache,
    Device,
    DryRun,
    Json,
    NetworkJobs,
    Overwrite,
    PartOption,
    Scheduler,
    Threads,
    Weights,
    part_of,
)
from ..settings import ONE_RUN, Example, With

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
        With("visual"),
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
    ids: Annotated[
        Path | None,
        typer.Option(
            "--ids", metavar="LIST", help="Do only the shards with the clips of this list or CSV."
        ),
        ONE_RUN,
    ] = None,
    weights: Weights = None,
    device: Device = AUTO,
    threads: Threads = AUTO,
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="What networks compute in on a CPU; bf16, where the CPU has it, is coarser and "
            "may be faster.",
        ),
    ] = FLOAT32,
    batch_size: BatchSize = BATCH_SIZE,
    jobs: NetworkJobs = 1,
    backend: Backend = BACKEND,
    scheduler: Scheduler = None,
    part: PartOption = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let each teacher see or hear every clip once; run it again to resume."""
    from ...cache.schema import HINTS, OBJECTS
    from ...stages.teachers.protocol import choices
    from ..networks.choose import require_some, require_weights, teacher_of, with_output
    from ..networks.run_encoder import is_run
    from ..networks.shards import shards_of

    if is_run(visual):
        raise UsageError(f"--visual {visual}: a run compares frames, for knn")
    seen = [with_output(name, visual_hint, visual_size) for name in teacher_of("visual", visual)]
    heard = teacher_of("audio", audio)
    if visual_size is not None and not seen:
        raise UsageError(f"--visual-size {visual_size}: there is no visual teacher")
    drawn = choices(OBJECTS) if objects else []
    names = require_some([*seen, *heard, *drawn])
    own = part_of(part)
    if dry_run:
        from ..networks.dry_run import estimate, estimate_text

        kinds = [*[HINTS] * len(seen + heard), *[OBJECTS] * len(drawn)]
        stages = list(zip(kinds, names, strict=True))
        shards = shards_of(cache, ids).numbers
        found = estimate(cache, stages, device, audio, shards, own, specs=weights or ())
        output.show(found, json, estimate_text)
        return
    if is_run(audio):
        raise UsageError(f"--audio {audio}: a run compares sounds, for knn and cluster")
    from ...cache.store import Cache
    from ...stages.embed import run as stage
    from ..networks.fan_out import FanOut
    from ..networks.threads import network_threads
    from ..tally import todo_notices
    from ..watch import watch_stages

    opened = Cache(cache)  # before the network that tries threads is loaded
    specs, wanted = tuple(weights or PRETRAINED), shards_of(cache, ids)
    require_weights(cache, names, specs)
    fan_out = FanOut.chosen(Workers(jobs, backend, scheduler), device, threads)
    tried = nullcontext() if fan_out else network_threads(threads, device)
    with tried, watch_stages() as progress:
        done = stage.embed(
            opened, HINTS, [*seen, *heard], objects=drawn, specs=specs, device=device,
            batch_size=batch_size, overwrite=overwrite, precision=precision,
            shards=wanted.numbers, part=own,
            elsewhere=partial(fan_out.embed, specs) if fan_out else None, progress=progress,
        )  # fmt: skip
    document = {**done.as_json(), "notices": [*wanted.notices, *todo_notices(cache)]}
    output.show(document, json, output.teachers_text)
