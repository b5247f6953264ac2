"""The command that gives sounds pseudo-labels."""

from typing import Annotated

import typer

from .. import output
from ..options import (
    DEFAULT_CACHE,
    PRETRAINED,
    BatchSize,
    Cache,
    Device,
    DryRun,
    HoldOut,
    Ids,
    Json,
    Overwrite,
    Weights,
)


def cluster(
    cache: Cache = DEFAULT_CACHE,
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, help="How many clusters.")] = 11,
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            "--audio",
            metavar="NAME",
            help="What compares sounds: a teacher, or run:RUN, the encoder of a run.",
        ),
    ] = "vggsound-resnet18",
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="S",
            min=0,
            max=2**31 - 1,
            help="Of the clips that k-means starts from.",
        ),
    ] = 0,
    ids: Ids = None,
    hold_out: HoldOut = None,
    weights: Weights = None,
    device: Device = "auto",
    batch_size: BatchSize = 32,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Embed every sound and cluster them: pseudo-labels for sound promotion."""
    from ..cluster import ClusterSettings, check_encoder, cluster_sounds
    from ..teachers import NONE, TeacherSettings, estimate

    check_encoder(encoder)
    settings = TeacherSettings(
        cache=cache,
        visual=NONE,
        audio=encoder,
        weights=tuple(weights or PRETRAINED),
        device=device,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    if dry_run:
        output.show(estimate(settings, "embeddings"), json, output.estimate_text)
        return
    wanted = ClusterSettings(k=k, seed=seed, ids=ids, hold_out=hold_out)
    output.show(cluster_sounds(settings, wanted), json, output.cluster_text)
