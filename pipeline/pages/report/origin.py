"""Where a report's figures come from: the runs, the protocol, the cache and its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....advice import advice
from ....train.recipe import recipe_values
from ....train.runs.record import RunRecord
from ....weights import RANDOM
from ...output import Document, size_text, weights_text
from .. import html

_DIGITS = 12
_IDS_SHOWN = 20


def stamps(records: Mapping[str, RunRecord]) -> list[str]:
    """Return what nobody may overlook: weights that know nothing, or that came from elsewhere.

    Args:
        records: Records by run.
    """
    found = []
    for run, record in records.items():
        begun = {"": record.image_weights, " its audio encoder": record.audio_weights}
        for part, digest in begun.items():
            if (digest or "").startswith(RANDOM):
                found.append(f"{run} began{part} with {weights_text(str(digest))}")
        for stage, digest in record.inputs.items():
            if (digest or "").startswith(RANDOM):
                found.append(f"{run} learnt from {stage}, of {weights_text(str(digest))}")
        if record.imported is not None:
            source = ", ".join(f"{key} {_plain(value)}" for key, value in record.imported.items())
            found.append(f"{run} was imported: {source}")
    return found


def origin_section(
    records: Mapping[str, RunRecord], steps: Mapping[str, int], evaluation: Document | None
) -> str:
    """Return the section on provenance: a column for each run, then recipes and the protocol.

    Args:
        records: Records by run, its short name.
        steps: Steps of each run's newest checkpoint.
        evaluation: The `avpipe.evaluate/1` document; None: nothing was scored.
    """
    entries = evaluation["runs"] if evaluation else [None] * len(records)
    columns = [
        {**_trained(record, steps[name]), **_scored(entry)}
        for (name, record), entry in zip(records.items(), entries, strict=True)
    ]
    named = dict.fromkeys(key for column in columns for key in column)
    rows = [[key, *(column.get(key) for column in columns)] for key in named]
    parts = [html.heading("Provenance"), html.table(["", *records], rows)]
    for title, record in _recipes(records):
        values = [(key, _plain(value)) for key, value in recipe_values(record.recipe).items()]
        parts.append(html.fold(title, html.table(("recipe", "value"), values)))
    if evaluation:
        first = evaluation["runs"][0]
        fields = [(key, _plain(value)) for key, value in first["protocol_fields"].items()]
        parts.append(
            html.fold(f"Protocol {first['protocol']}", html.table(("protocol", "value"), fields))
        )
        parts += list(_id_lists(evaluation))
    return "\n".join(parts)


def _trained(record: RunRecord, steps: int) -> dict[str, Any]:
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    inputs = [f"{stage}: {_digest(digest)}" for stage, digest in record.inputs.items()]
    return {
        "recipe": record.recipe_name,
        "objective": record.recipe.objective,
        "seed": record.seed,
        "trained on": f"{len(record.ids)} clips" if record.ids else None,
        "steps": f"{steps} of {record.batch_size} clips, {record.recipe.epochs} epochs planned",
        "processes": record.num_ranks,
        "image encoder from": _digest(record.image_weights),
        "audio encoder from": _digest(record.audio_weights),
        "stages read": "; ".join(inputs) or None,
        "made with": versions,
        "cache": record.cache or None,
        "clips' digest": record.data[:_DIGITS] or None,
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


def _recipes(records: Mapping[str, RunRecord]) -> Iterator[tuple[str, RunRecord]]:
    """Yield each recipe once, titled with the runs that have it."""
    seen: list[tuple[list[str], RunRecord]] = []
    for name, record in records.items():
        same = [names for names, other in seen if other.recipe == record.recipe]
        if same:
            same[0].append(name)
        else:
            seen.append(([name], record))
    for names, record in seen:
        of = f" of {', '.join(names)}" if len(seen) > 1 else ""
        yield f"Recipe {record.recipe_name}{of}, all its values", record


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
