"""Where a report's figures come from: the runs, the protocol, the cache and its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....advice import advice
from ....train.recipe import recipe_values
from ....train.runs.record import RunPage
from ....weights import RANDOM
from ...output import Document, size_text, weights_text
from .. import html

_DIGITS = 12
_IDS_SHOWN = 20


def stamps(pages: Mapping[str, RunPage]) -> list[str]:
    """Return what nobody may overlook: weights that know nothing, or that came from elsewhere.

    Args:
        pages: Pages by run.
    """
    found = []
    for run, page in pages.items():
        begun = {"": page.image_weights, " its audio encoder": page.audio_weights}
        for part, digest in begun.items():
            if (digest or "").startswith(RANDOM):
                found.append(f"{run} began{part} with {weights_text(str(digest))}")
        for stage, digest in page.inputs.items():
            if (digest or "").startswith(RANDOM):
                found.append(f"{run} learnt from {stage}, of {weights_text(str(digest))}")
        if page.imported is not None:
            source = ", ".join(f"{key} {_plain(value)}" for key, value in page.imported.items())
            found.append(f"{run} was imported: {source}")
    return found


def origin_section(
    pages: Mapping[str, RunPage], steps: Mapping[str, int], evaluation: Document | None
) -> str:
    """Return the section on provenance: a column for each run, then recipes and the protocol.

    Args:
        pages: Pages by run, its short name.
        steps: Steps of each run's newest checkpoint.
        evaluation: The `avpipe.evaluate/1` document; None: nothing was scored.
    """
    entries = evaluation["runs"] if evaluation else [None] * len(pages)
    columns = [
        {**_trained(page, steps[name]), **_scored(entry)}
        for (name, page), entry in zip(pages.items(), entries, strict=True)
    ]
    named = dict.fromkeys(key for column in columns for key in column)
    rows = [[key, *(column.get(key) for column in columns)] for key in named]
    parts = [html.heading("Provenance"), html.table(["", *pages], rows)]
    for title, page in _recipes(pages):
        values = [(key, _plain(value)) for key, value in recipe_values(page.recipe).items()]
        parts.append(html.fold(title, html.table(("recipe", "value"), values)))
    if evaluation:
        first = evaluation["runs"][0]
        fields = [(key, _plain(value)) for key, value in first["protocol_fields"].items()]
        parts.append(
            html.fold(f"Protocol {first['protocol']}", html.table(("protocol", "value"), fields))
        )
        parts += list(_id_lists(evaluation))
    return "\n".join(parts)


def _trained(page: RunPage, steps: int) -> dict[str, Any]:
    versions = ", ".join(f"{name} {number}" for name, number in page.versions.items())
    inputs = [f"{stage}: {_digest(digest)}" for stage, digest in page.inputs.items()]
    return {
        "recipe": page.recipe_name,
        "objective": page.recipe.objective,
        "seed": page.seed,
        "trained on": f"{len(page.ids)} clips" if page.ids else None,
        "steps": f"{steps} of {page.batch_size} clips, {page.recipe.epochs} epochs planned",
        "processes": page.num_ranks,
        "image encoder from": _digest(page.image_weights),
        "audio encoder from": _digest(page.audio_weights),
        "stages read": "; ".join(inputs) or None,
        "made with": versions,
        "cache": page.cache or None,
        "clips' digest": page.data[:_DIGITS] or None,
    }


def _digest(digest: str | None) -> str:
    return weights_text(digest) if digest else "scratch"


def _scored(entry: Document | None) -> dict[str, Any]:
    if entry is None:
        return {}
    unknown = entry["leaked"] is None
    leaked = "unknown: no training list" if unknown else f"{len(entry['leaked'])} test clips"
    ceiling = entry["ceiling"]
    half = None if ceiling is None else f"{100 * ceiling:.2f} % where half a picture is predicted"
    return {
        "weights tested": entry["branch"],
        "benchmark": entry["benchmark"],
        "protocol": f"{entry['protocol']}, maps {entry['geometry']}",
        "scored": f"{entry['n_scored']} of {entry['n_official']} clips",
        "missing": f"{len(entry['missing'])} test clips",
        "leaked": leaked,
        "ceiling of LocAcc": half,
    }


def _recipes(pages: Mapping[str, RunPage]) -> Iterator[tuple[str, RunPage]]:
    """Yield each recipe once, titled with the runs that have it."""
    seen: list[tuple[list[str], RunPage]] = []
    for name, page in pages.items():
        same = [names for names, other in seen if other.recipe == page.recipe]
        if same:
            same[0].append(name)
        else:
            seen.append(([name], page))
    for names, page in seen:
        of = f" of {', '.join(names)}" if len(seen) > 1 else ""
        yield f"Recipe {page.recipe_name}{of}, all its values", page


def _id_lists(evaluation: Document) -> Iterator[str]:
    """Yield the ids of clips that are missing, and of those that were trained on."""
    lists = {"Missing": evaluation["runs"][0]["missing"]}
    lists |= {f"Leaked into {run['run']}": run["leaked"] for run in evaluation["runs"]}
    for title, ids in lists.items():
        if ids:
            more = f" and {len(ids) - _IDS_SHOWN} more; all are in --json"
            text = ", ".join(ids[:_IDS_SHOWN]) + (more if len(ids) > _IDS_SHOWN else "")
            yield html.fold(f"{title}: {len(ids)} clips", html.paragraph(text))


def data_section(status: Document | None, cache: Path) -> str:
    """Return the section on the cache: its clips, why clips failed, its stages and weights.

    Args:
        status: The `avpipe.status/1` document; None: there is no cache.
        cache: Its folder.
    """
    title = html.heading("Data")
    if status is None:
        return title + html.paragraph(f"No cache at {cache}: name it with --cache.", "soft")
    clips = status["clips"]
    counts = ", ".join(f"{clips[key]} {key}" for key in ("done", "failed", "todo"))
    parts = [title, html.paragraph(f"{cache}: {clips['total']} clips, {counts}.")]
    if status["failures"]:
        rows = sorted(status["failures"].items(), key=lambda item: (-item[1], item[0]))
        parts.append(html.table(("failed because", "clips"), rows, " r"))
        command = advice("inspect --failures", cache).strip("`")
        parts.append(html.paragraph(f"Each with its file: {command}", "soft"))
    head = ("stage", "clips", "stale", "missing", "size", "weights")
    parts.append(html.table(head, map(_stage, status["stages"]), " rrrr"))
    return "\n".join(parts)


def _stage(stage: Document) -> Sequence[Any]:
    missing = "dropped" if stage["dropped"] else stage["missing"]
    weights = "; ".join(map(weights_text, stage["weights"])) or None
    return stage["name"], stage["done"], stage["stale"], missing, size_text(stage["bytes"]), weights


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
