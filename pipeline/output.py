"""Print results: the JSON document of a command, or the same for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..printable import printable

if TYPE_CHECKING:
    from ..stages.synth.run import SynthSummary

Document = Mapping[str, Any]

_RUN_WORDS = {
    "planned": "new clips",
    "embedded": "embedded now",
    "done": "done now",
    "skipped": "finished before",
    "failed": "failed now",
    "failed_by_reason": "why they failed",
    "failed_total": "failed in all",
    "ignored": "files left alone",
    "seconds": "time",
    "per_second": "clips per second",
}
"""What the counts of a run are called."""
_ESTIMATE_WORDS = {
    "new": "new clips",
    "pending": "clips planned before",
    "bytes_in": "to read",
    "bytes_out": "to write",
    "seconds": "time",
    "sampled": "clips tried for that",
    "sample_failed": "of them failed",
}


def show(document: Document, as_json: bool, text: Callable[[Document], str]) -> None:
    """Print a result on stdout, as one JSON object or as text."""
    say(json.dumps(document, indent=2).replace("\x7f", "\\u007f") if as_json else text(document))


def say(text: str, *, end: str = "\n") -> None:
    """Print lines on stdout; what in them would act on a terminal is escaped."""
    print(printable(text, "\n"), end=end, flush=True)


def note(line: str) -> None:
    """Tell something that is no result, on stderr, at once."""
    print(f"avpipe: {printable(line)}", file=sys.stderr, flush=True)


def synth_json(summary: SynthSummary) -> dict[str, Any]:
    """Build the `avpipe.synth/1` document."""
    fields = {key: _plain(value) for key, value in asdict(summary).items()}
    return {"schema": "avpipe.synth/1", **fields}


def run_text(document: Document) -> str:
    """Render what a run did, in words; reasons and kinds only where there are some."""
    fields = {key: value for key, value in document.items() if value != {} and key != "notices"}
    return "\n".join([fields_text(fields, _RUN_WORDS), *document.get("notices", [])])


def extract_estimate_text(document: Document) -> str:
    """Render `avpipe extract --dry-run`."""
    return fields_text(document, _ESTIMATE_WORDS)


def fields_text(document: Document, words: Mapping[str, str] | None = None) -> str:
    """Render a flat document, one field per line, named by its key or by the words for it."""
    shown = {
        (words or {}).get(key, key.replace("_", " ")): _field(key, value)
        for key, value in document.items()
        if key != "schema"
    }
    width = max(map(len, shown))
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in shown.items())


def teachers_text(document: Document) -> str:
    """Render `avpipe embed-teachers` and `avpipe knn`: the weights stand by themselves."""
    fields = {key: value for key, value in document.items() if key not in ("weights", "notices")}
    weights = [f"{stage}: {weights_text(digest)}" for stage, digest in document["weights"].items()]
    return "\n".join([run_text(fields), "", *weights, *document.get("notices", [])])


def cluster_text(document: Document) -> str:
    """Render `avpipe cluster`: the clusters as a table, labels only where clips have some."""
    named = document["purity"] is not None
    rows = [
        (number, one["size"], *((one["label"] or "-", _percent(one["share"])) if named else ()))
        for number, one in enumerate(document["clusters"])
    ]
    head = ("cluster", "clips", *(("mostly", "share") if named else ()))
    apart = ("clusters", "purity", "purity_shuffled")
    parts = [table(head, rows)]
    if named:
        chance = _percent(document["purity_shuffled"])
        parts.append(f"purity {_percent(document['purity'])}, with labels shuffled {chance}")
    parts.append(teachers_text({k: v for k, v in document.items() if k not in apart}))
    return "\n\n".join(parts)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def estimate_text(document: Document) -> str:
    """Render `avpipe embed-teachers --dry-run`."""
    rows = [
        (row["stage"], row["clips"], size_text(row["bytes_out"]), time_text(row["seconds"]))
        for row in document["stages"]
    ]
    return table(("stage", "clips", "size", f"time on {document['device']}"), rows)


def train_text(document: Document) -> str:
    """Render `avpipe train`: a line for each run; several have a mean and a deviation."""
    losses = ["loss", "val_loss"] if document["mean"]["val_loss"] is not None else ["loss"]

    def shown(one: Document) -> list[str]:
        return ["-" if one[name] is None else f"{one[name]:.3f}" for name in losses]

    names = [name.replace("_", " ") for name in losses]
    head = ("run", "seed", "clips", "batch", "steps", "done now", *names, "steps/s")
    rows = []
    for run in document["runs"]:
        counts = [run[key] for key in ("seed", "clips", "batch_size", "num_steps", "done")]
        rows.append((run["run"], *counts, *shown(run), f"{run['per_second']:.1f}"))
    if document["std"]:
        rows += [(name, *[""] * 5, *shown(document[name]), "") for name in ("mean", "std")]
    labels = [
        f"{run['run']} began with {weights_text(run['weights'])}"
        for run in document["runs"]
        if run["weights"]
    ]
    waits = [
        f"{run['run']} waited for clips {_percent(run['waited_s'] / run['seconds'])} of its time"
        for run in document["runs"]
        if run["done"] and run.get("waited_s") is not None and not document["std"]
    ]
    return "\n".join([table(head, rows), *waits, *labels])


def localize_text(document: Document) -> str:
    """Render `avpipe localize`."""
    failed = [f"failed  {name}: {why}" for name, why in document["failed"].items()]
    lines = [*failed, *document["notices"], *document["pictures"], *document["videos"]]
    return "\n".join(map(printable, lines))


def inspect_text(document: Document) -> str:
    """Render `avpipe inspect`: the picture, and what is missing from it."""
    return "\n".join(map(printable, [document["picture"], *document["notices"]]))


def weights_text(digest: str) -> str:
    """Say what a digest of weights means to people; random ones stand out."""
    kind, _, seed = digest.partition(":")
    if kind == "random":
        return f"RANDOM weights (seed {seed}), for tests and demos: they know nothing"
    return f"weights {digest[:12]}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align columns by their widest cell, numbers to the right; nothing is cut off."""
    cells = [tuple(head), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def size_text(num_bytes: int) -> str:
    """Write a size as a person reads it, in powers of 1000."""
    size, units = float(num_bytes), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.{0 if units[0] == 'B' else 1}f} {units[0]}"


def time_text(seconds: float) -> str:
    """Write a time as a person reads it: the two largest of its units."""
    if seconds < 60:
        return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
    minutes = round(seconds / 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _field(key: str, value: object) -> str:
    if key.startswith("bytes") and isinstance(value, int):
        return size_text(value)
    if key == "seconds" and isinstance(value, int | float):
        return time_text(value)
    return short_text(value)


def short_text(value: object) -> str:
    """Write a value in a line."""
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        words = (f"{count} {name or '(no suffix)'}" for name, count in value.items())
        return printable(", ".join(words))
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value))
    return json.dumps(value) if isinstance(value, list | bool) else str(value)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
