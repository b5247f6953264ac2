"""What `avpipe status` and `avpipe verify` say of a cache, for people."""

from __future__ import annotations

from collections.abc import Sequence

from .output import Document, fields_text, size_text, table, weights_text


def status_text(document: Document) -> str:
    """Render `avpipe status`."""
    clips = document["clips"]
    counts = ", ".join(f"{clips[key]} {key}" for key in ("done", "failed", "todo"))
    parts = [f"{clips['total']} clips: {counts}"]
    if document["failures"]:
        rows = sorted(document["failures"].items(), key=lambda item: (-item[1], item[0]))
        parts.append(table(("failed", "clips"), rows))
    if document["stages"]:
        head = ("stage", "done", "stale", "missing", "size")
        parts.append(table(head, [_stage_row(stage) for stage in document["stages"]]))
    parts += [line for stage in document["stages"] if (line := _mixture(stage))]
    parts += _made_of_noise(document["stages"])
    if "ids" in document:
        parts.append("of the list:\n" + fields_text(document["ids"]))
    return "\n\n".join(parts)


def verify_text(document: Document) -> str:
    """Render `avpipe verify`."""
    sizes = f"{document['files']} files, {size_text(document['bytes'])}"
    damaged = document["damaged"]
    lines = [f"{sizes}: {len(damaged) or 'none'} damaged"]
    lines += [_damaged_line(path, problem) for path, problem in damaged.items()]
    lines += [f"repaired  {text}" for text in document["repaired"]]
    lines += [f"lost      {text}" for text in document["lost"]]
    if document["commands"]:
        lines += ["", "to make the rest again:", *document["commands"]]
    return "\n".join(lines)


def _damaged_line(path: str, problem: str) -> str:
    """Name a damaged file once, though most problems begin with its whole path."""
    _, named, rest = problem.partition(path)
    return f"damaged   {path}{rest}" if named else f"damaged   {path}: {problem}"


def _stage_row(stage: Document) -> tuple[object, ...]:
    missing = "dropped" if stage["dropped"] else stage["missing"]
    return stage["name"], stage["done"], stage["stale"], missing, size_text(stage["bytes"])


def _mixture(stage: Document) -> str:
    """Say which parameters and library versions differ between the shards of a stage."""
    return "\n".join(
        f"{stage['name']}: made with {name} {' and '.join(found)}"
        for name, found in stage["mixed"].items()
    )


def _made_of_noise(stages: Sequence[Document]) -> list[str]:
    """Say which stages were made with random weights."""
    seeds: dict[str, list[str]] = {}
    for stage in stages:
        for digest in stage["weights"]:
            if digest.startswith("random"):
                seeds.setdefault(digest, []).append(stage["name"])
    return [f"{weights_text(digest)}: {', '.join(names)}" for digest, names in seeds.items()]
