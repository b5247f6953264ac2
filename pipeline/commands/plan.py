"""`avpipe plan`: what so many clips would cost, before anything is begun."""

from typing import Annotated

import typer

from .. import output
from ..options import Json
from ..output import Document, size_text, table
from ..settings import ONE_RUN, With

RECIPE = "cached"
_NETWORKS = {
    "small": "small networks; `--recipe slavc` plans for those of the papers (DETR, PANNs)",
    "papers": "DETR, PANNs and neighbours; `--recipe cached` plans for small networks",
}


def plan(
    clips: Annotated[
        int, typer.Option("--clips", metavar="N", min=1, help="How many clips."), ONE_RUN
    ],
    cores: Annotated[
        int | None,
        typer.Option("--cores", metavar="C", min=1, help="CPU cores. [default: this machine's]"),
        ONE_RUN,
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="What is trained: it says which networks see and hear the clips before.",
        ),
        ONE_RUN,
    ] = RECIPE,
    gpus: Annotated[int, typer.Option("--gpus", metavar="G", min=0, help="GPUs."), ONE_RUN] = 0,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Cores and GPUs are those of several machines; this one's disk and "
            "memory limit nothing.",
        ),
        ONE_RUN,
    ] = False,
    extract_ms: Annotated[
        float | None,
        typer.Option(
            "--extract-ms",
            metavar="MS",
            min=0,
            help="Milliseconds of a core to extract a clip, as extract --dry-run times it.",
        ),
        ONE_RUN,
    ] = None,
    gpu_factor: Annotated[
        float | None,
        typer.Option(
            "--gpu-factor", metavar="F", min=1, help="Assume that a GPU does the work of F cores."
        ),
        ONE_RUN,
        With("gpus"),
    ] = None,
    json: Json = False,
) -> None:
    """Say what so many clips would cost in each stage, and what would stop first."""
    import shutil

    from ...machine import free_memory_bytes, granted_cores
    from ...train.recipe import load_recipe
    from ..costs.model import PAPERS, SMALL, Means
    from ..costs.model import plan as computed

    how = load_recipe(recipe)
    road = SMALL if how.image_teacher or how.sound_teacher else PAPERS
    means = Means(
        cores or granted_cores(), gpus, cluster, extract_ms, gpu_factor,
        disk_bytes=None if cluster else shutil.disk_usage(".").free,
        memory_bytes=None if cluster else free_memory_bytes(),
    )  # fmt: skip
    output.show({**computed(clips, means, road), "recipe": recipe}, json, plan_text)


def plan_text(document: Document) -> str:
    """Render `avpipe plan`."""
    head = ("stage", "what", "core-hours", "GPU-hours", "takes", "grows with", "measured")
    from ..costs.model import time_of

    rows = [
        (
            row["stage"], row["what"].replace("`", ""), _hours(row["core_hours"]),
            _hours(row["gpu_hours"]), time_of(row["hours"] * 3600), f"N^{row['growth']:g}",
            row["where"],
        )
        for row in document["stages"]
    ]  # fmt: skip
    parts = [
        f"{document['clips']:,} clips, {document['cores']} cores, {document['gpus']} GPUs: "
        f"{size_text(document['bytes'])} to store, frames not counted",
        table(head, rows),
        f"for recipe {document['recipe']}: {_NETWORKS[document['road']]}",
        f"stops first: {document['stops_first']}",
        *(f"assumed: {line}" for line in document["assumptions"]),
        *(f"missing: {line}" for line in document["missing"]),
    ]
    return "\n\n".join(parts[:2]) + "\n\n" + "\n".join(parts[2:])


def _hours(hours: float) -> str:
    return "-" if not hours else f"{hours:.{0 if hours >= 10 else 2}f}"
