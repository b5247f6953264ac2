"""`avpipe cluster`: sounds are embedded where they are not yet, then clustered: pseudo-labels."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from ...cache.defaults import AUDIO_ENCODER, NUM_CLUSTERS
from ...errors import UsageError
from ...machine import AUTO
from ...stages.embed import BATCH_SIZE
from .. import output
from ..options import (
    DEFAULT_CACHE,
    MOST_SEED,
    PRETRAINED,
    BatchSize,
    Cache,
    Device,
    DryRun,
    HoldOut,
    Ids,
    Json,
    Overwrite,
    PartOption,
    Weights,
    part_of,
)
from ..output import Document, percent, table, teachers_text
from ..settings import Example


def cluster(
    cache: Cache = DEFAULT_CACHE,
    k: Annotated[
        int, typer.Option("--k", metavar="N", min=1, help="How many clusters.")
    ] = NUM_CLUSTERS,
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            "--audio",
            metavar="NAME",
            help="What compares sounds: a teacher, or run:RUN, the encoder of a run.",
        ),
    ] = AUDIO_ENCODER,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="S",
            min=0,
            max=MOST_SEED,
            help="Of the clips that k-means starts from.",
        ),
    ] = 0,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            metavar="N",
            min=1,
            help="Find the centroids on N clips drawn at random; all clips are labelled.",
        ),
        Example(1_000_000),
    ] = None,
    ids: Ids = None,
    hold_out: HoldOut = None,
    weights: Weights = None,
    device: Device = AUTO,
    batch_size: BatchSize = BATCH_SIZE,
    part: PartOption = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Embed every sound and cluster them: pseudo-labels for sound promotion."""
    from ...stages.neighbors.vectors import source_kind
    from ..networks.choose import NONE, encoders_of
    from ..networks.shards import note_missing, shards_of

    check_encoder(encoder)
    own = part_of(part)
    (name,) = encoders_of(NONE, encoder)
    if dry_run:
        from ..networks.dry_run import estimate, estimate_text

        shards = shards_of(cache, ids).numbers
        stages = [(source_kind(cache, name), name)]
        found = estimate(cache, stages, device, encoder, shards, own, specs=weights or ())
        output.show(found, json, estimate_text)
        return
    from ...cache.store import Cache
    from ...stages.neighbors import cluster as stage
    from ...stages.neighbors.vectors import id_set
    from ...stages.teachers.protocol import network_of
    from ...weights import check_specs
    from ..id_lists import hold_out_notices, read_ids, read_ids_to_take
    from ..networks.run_encoder import given_networks, leak_notices
    from ..networks.source import embed_source
    from ..tally import todo_notices
    from ..watch import watch_stages

    started, opened = time.monotonic(), Cache(cache)
    taken, held_out = read_ids_to_take(ids), read_ids(hold_out) or []
    chosen = id_set(opened, taken, held_out)  # other clips' lists are told before hours of work
    shards = None if taken is None else chosen.shards
    given, sounds = given_networks(encoder)
    specs = tuple(weights or PRETRAINED)
    check_specs(specs, () if given else (network_of(name),))
    note_missing(opened, [name], shards)
    with watch_stages() as progress:
        embedded = embed_source(
            opened, name, specs=specs, device=device, batch_size=batch_size,
            overwrite=overwrite, given=given, shards=shards, part=own, progress=progress,
        )  # fmt: skip
        made = stage.cluster(
            opened, name, k, seed=seed, sample=sample, ids=taken, hold_out=held_out,
            overwrite=overwrite, part=own, progress=progress,
        )  # fmt: skip
    seconds = time.monotonic() - started
    document = {
        "schema": "avpipe.cluster/1",
        "stage": made.stage,
        "k": k,
        "seed": seed,
        "clusters": [asdict(one) for one in made.clusters],
        "purity": made.purity,
        "purity_shuffled": made.purity_shuffled,
        "embedded": embedded.done,
        "done": made.done,
        "skipped": made.skipped,
        "failed": 0,
        "failed_total": 0,
        "weights": embedded.weights,
        "seconds": round(seconds, 3),
        "per_second": round(made.done / seconds, 3) if made.done else 0.0,
        "notices": [
            *hold_out_notices(hold_out, held_out, opened.ids),
            *leak_notices(sounds, held_out),
            *todo_notices(cache),
            *made.notices,
        ],
    }
    output.show(document, json, cluster_text)


def check_encoder(name: str) -> None:
    """Check that sounds can be compared by an encoder; a run is looked for later.

    Raises:
        UsageError: Naming those that can.
    """
    from ...stages.teachers.protocol import choices
    from ..networks.run_encoder import is_run

    if not is_run(name) and name not in choices("audio"):
        known = ", ".join([*choices("audio"), "run:RUN"])
        raise UsageError(f"--encoder {name}: no audio teacher is called so: one of {known}")


def cluster_text(document: Document) -> str:
    """Render `avpipe cluster`: the clusters as a table, labels only where clips have some."""
    named = document["purity"] is not None
    rows = [
        (number, one["size"], *((one["label"] or "-", percent(one["share"])) if named else ()))
        for number, one in enumerate(document["clusters"])
    ]
    head = ("cluster", "clips", *(("mostly", "share") if named else ()))
    apart = ("clusters", "purity", "purity_shuffled")
    parts = [table(head, rows)] if rows else []
    if named:
        chance = percent(document["purity_shuffled"])
        parts.append(f"purity {percent(document['purity'])}, with labels shuffled {chance}")
    parts.append(teachers_text({k: v for k, v in document.items() if k not in apart}))
    return "\n\n".join(parts)
