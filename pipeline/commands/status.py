"""`avpipe status`: what is done, what failed and why, what is stale."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .. import output
from ..options import DEFAULT_CACHE, Cache, Json, PartOption, part_of
from ..output import Document, fields_text, size_text, table, weights_text
from ..settings import ONE_RUN


def status(
    cache: Cache = DEFAULT_CACHE,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="LIST", help="Count the clips of this list too."),
        ONE_RUN,
    ] = None,
    part: PartOption = None,
    json: Json = False,
) -> None:
    """Show what is done, what failed and why, and what is stale."""
    from .. import tally

    output.show(tally.status(cache, ids, part_of(part)), json, status_text)


def status_text(document: Document) -> str:
    """Render `avpipe status`."""
    from ...cache.schema import NEIGHBORS

    clips = document["clips"]
    counts = ", ".join(f"{clips[key]} {key}" for key in ("done", "failed", "todo"))
    whose = f"part {document['part']}: " if "part" in document else ""
    parts = [f"{whose}{clips['total']} clips: {counts}"]
    if document["failures"]:
        rows = sorted(document["failures"].items(), key=lambda item: (-item[1], item[0]))
        parts.append(table(("failed", "clips"), rows))
    if document["stages"]:
        head = ("stage", "done", "stale", "missing", "size")
        parts.append(table(head, [_stage_row(stage) for stage in document["stages"]]))
    if "part" in document and any(one["name"].startswith(NEIGHBORS) for one in document["stages"]):
        parts.append("neighbours are counted whole: blocks of clips divide them, not shards")
    parts += [line for stage in document["stages"] if (line := _mixture(stage))]
    parts += [_recall(stage) for stage in document["stages"] if "recall" in stage["params"]]
    parts += _made_of_noise(document["stages"])
    if "ids" in document:
        parts.append("of the list:\n" + fields_text(document["ids"]))
    return "\n\n".join(parts)


def _stage_row(stage: Document) -> tuple[object, ...]:
    missing = "dropped" if stage["dropped"] else stage["missing"]
    return stage["name"], stage["done"], stage["stale"], missing, size_text(stage["bytes"])


def _mixture(stage: Document) -> str:
    """Say which parameters and library versions differ between the shards of a stage."""
    return "\n".join(
        f"{stage['name']}: made with {name} {' and '.join(found)}"
        for name, found in stage["mixed"].items()
    )


def _recall(stage: Document) -> str:
    """Say how good an approximate search was, as it was measured."""
    params = stage["params"]
    return (
        f"{stage['name']}: approximate, {params['recall']:.3f} of the exact neighbours are found "
        f"({params['approximate']}, {params['probes']} probes)"
    )


def _made_of_noise(stages: Sequence[Document]) -> list[str]:
    """Say which stages were made with random weights."""
    seeds: dict[str, list[str]] = {}
    for stage in stages:
        for digest in stage["weights"]:
            if digest.startswith("random"):
                seeds.setdefault(digest, []).append(stage["name"])
    return [f"{weights_text(digest)}: {', '.join(names)}" for digest, names in seeds.items()]
