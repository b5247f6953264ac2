"""`avpipe knn`: every clip's nearest others, by sight and by sound."""

import time
from contextlib import nullcontext
from functools import partial
from typing import Annotated

import typer

from ...cache.defaults import AUDIO_ENCODER, IMAGE_ENCODER, MIN_RECALL, NUM_NEIGHBORS, PROBES
from ...machine import AUTO
from ...stages.embed import BATCH_SIZE
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
    HoldOut,
    Ids,
    Json,
    NetworkJobs,
    Overwrite,
    PartOption,
    Scheduler,
    Threads,
    Weights,
    part_of,
)
from ..settings import With


def knn(
    cache: Cache = DEFAULT_CACHE,
    k: Annotated[
        int, typer.Option("--k", metavar="N", min=1, help="Neighbours of each clip.")
    ] = NUM_NEIGHBORS,
    image: Annotated[
        str,
        typer.Option(
            "--image",
            metavar="NAME",
            help="What compares frames: a teacher, run:RUN (where a run sees the sound), or none.",
        ),
    ] = IMAGE_ENCODER,
    audio: Annotated[
        str,
        typer.Option(
            "--audio",
            metavar="NAME",
            help="What compares sounds: a teacher, run:RUN (the encoder of a run), or none.",
        ),
    ] = AUDIO_ENCODER,
    ids: Ids = None,
    hold_out: HoldOut = None,
    weights: Weights = None,
    device: Device = AUTO,
    threads: Threads = AUTO,
    batch_size: BatchSize = BATCH_SIZE,
    jobs: NetworkJobs = 1,
    backend: Backend = BACKEND,
    scheduler: Scheduler = None,
    part: PartOption = None,
    overwrite: Overwrite = False,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Look through a part of all clips, by an index; recall is measured and stored.",
        ),
    ] = False,
    probes: Annotated[
        int,
        typer.Option(
            "--probes", metavar="N", min=1, help="Lists of the index that --approximate reads."
        ),
        With("approximate"),
    ] = PROBES,
    min_recall: Annotated[
        float,
        typer.Option(
            "--min-recall",
            metavar="R",
            min=0,
            max=1,
            help="Refuse --approximate where it finds less of the exact neighbours.",
        ),
        With("approximate"),
    ] = MIN_RECALL,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Embed every clip and find its nearest others, by sight and by sound."""
    from ...errors import UsageError
    from ...stages.neighbors.vectors import source_kind
    from ..networks.choose import encoders_of, require_weights
    from ..networks.run_encoder import is_run
    from ..networks.shards import note_missing, shards_of

    names, own = encoders_of(image, audio), part_of(part)
    if dry_run:
        if is_run(image):
            raise UsageError("--dry-run cannot tell what the regions of a run take; leave it out")
        from ..networks.dry_run import estimate, estimate_text

        stages = [(source_kind(cache, name), name) for name in names]
        shards = shards_of(cache, ids).numbers
        planned = estimate(cache, stages, device, audio, shards, own, specs=weights or ())
        output.show(planned, json, estimate_text)
        return
    from ...cache.store import Cache
    from ...devices import usable_device
    from ...stages.neighbors.run import neighbors
    from ...stages.neighbors.searched import Approximate, require_room_for
    from ...stages.neighbors.vectors import id_set
    from ..id_lists import hold_out_notices, read_ids, read_ids_to_take
    from ..networks.fan_out import FanOut
    from ..networks.regions import embed_regions, regions_of
    from ..networks.run_encoder import given_networks, leak_notices
    from ..networks.source import embed_source
    from ..networks.threads import network_threads, search_threads
    from ..tally import todo_notices
    from ..watch import watch_stages

    started, opened, specs = time.monotonic(), Cache(cache), tuple(weights or PRETRAINED)
    taken, held_out = read_ids_to_take(ids), read_ids(hold_out) or []
    chosen = id_set(opened, taken, held_out)  # other clips' lists are told before hours of work
    rough = Approximate(probes, min_recall) if approximate else None
    for name in names:  # so is what cannot fit
        require_room_for(name, cache, chosen, k, rough, own)
    shards = None if taken is None else chosen.shards
    fan_out = FanOut.chosen(Workers(jobs, backend, scheduler), device, threads)
    if fan_out is None:
        device = usable_device(device)
    given, sounds = given_networks(audio)
    regions = regions_of(image)
    teachers = [name for name in names if name not in {**given, **regions}]
    notices = hold_out_notices(hold_out, held_out, opened.ids)
    notices += [*todo_notices(cache), *leak_notices(sounds, held_out)]
    notices += [line for run in regions.values() for line in leak_notices(run, held_out)]
    require_weights(cache, teachers, specs)
    note_missing(opened, [name for name in names if name not in regions], shards)
    with (
        nullcontext() if fan_out else network_threads(threads, device),
        search_threads(threads),
        watch_stages() as progress,
    ):
        embedded = [
            embed_source(
                opened, name, specs=specs, device=device, batch_size=batch_size,
                overwrite=overwrite, given=given, shards=shards, part=own, fan_out=fan_out,
                progress=progress,
            )
            for name in names
            if name not in regions
        ]  # fmt: skip
        embedded += [
            embed_regions(
                opened,
                name,
                run,
                device=usable_device(device),
                overwrite=overwrite,
                part=own,
                progress=progress,
            )
            for name, run in regions.items()
        ]
        search = fan_out.neighbors if fan_out else partial(neighbors, device=device)
        found = [
            search(
                opened, name, k, ids=taken, hold_out=held_out, overwrite=overwrite, part=own,
                approximate=rough, progress=progress,
            )
            for name in names
        ]  # fmt: skip
    done, seconds = sum(part.done for part in found), time.monotonic() - started
    document = {
        "schema": "avpipe.knn/1",
        "k": found[0].k,
        "stages": [part.stage for part in found],
        "embedded": sum(part.done for part in embedded),
        "done": done,
        "skipped": sum(part.skipped for part in found),
        "failed": 0,
        "failed_total": 0,
        "weights": {name: digest for part in embedded for name, digest in part.weights.items()},
        "seconds": round(seconds, 3),
        "per_second": round(done / seconds, 3) if done else 0.0,
        "notices": [*notices, *dict.fromkeys(line for part in found for line in part.notices)],
    }
    output.show(document, json, output.teachers_text)
