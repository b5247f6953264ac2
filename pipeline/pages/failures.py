"""`avpipe inspect --failures`: the clips that could not be used, why, and how to try them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...advice import advice
from ...cache.addresses import joined
from ...cache.store import Cache
from ...errors import TRANSIENT, Reason, UsageError
from ...printable import printable
from .. import output
from ..output import Document
from . import html

_HEAD = ("id", "reason", "detail", "path")


def list_failures(
    folder: Path, reasons: Sequence[str] = (), ids: Sequence[str] = ()
) -> dict[str, Any]:
    """List the clips that failed; return the `avpipe.failures/1` document.

    Args:
        folder: The cache.
        reasons: Only those that failed for one of these; none: all.
        ids: Only these clips; none: all.

    Raises:
        InputError: There is no cache.
        UsageError: There is no such reason.
    """
    for reason in reasons:
        if reason not in set(Reason):
            raise UsageError(f"--reason {reason}: the reasons are {', '.join(Reason)}")
    cache = Cache(folder)
    found = []
    for failure in cache.failures():
        if (reasons and failure.reason not in reasons) or (ids and failure.id not in ids):
            continue
        line = cache.manifest.line(failure.row)
        root = cache.manifest.roots[line["root"]]["path"]
        found.append({**failure._asdict(), "path": joined(root, line["path"])})
    counts = Counter(one["reason"] for one in found)
    return {
        "schema": "avpipe.failures/1",
        "counts": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        "failures": found,
        "notices": _notices(folder, counts),
    }


def _notices(folder: Path, counts: Counter[str]) -> list[str]:
    """Say which failures may pass and how they are tried again."""
    passing = [reason for reason in counts if reason in TRANSIENT]
    return [
        f"{reason} may pass: {advice(f'extract --retry-failed={reason}', folder)}"
        for reason in sorted(passing)
    ]


def failures_text(document: Document) -> str:
    """Render `avpipe inspect --failures`."""
    if not document["failures"]:
        return "no clip failed"
    parts = [output.table(_HEAD, _rows(document)), _counts(document)]
    return "\n\n".join([*parts, *map(printable, document["notices"])])


def failures_page(document: Document) -> str:
    """Return the same as a page."""
    if not document["failures"]:
        return html.page("No clip failed", "")
    parts = [html.paragraph(_counts(document))]
    parts += [html.paragraph(line, "soft") for line in document["notices"]]
    number = len(document["failures"])
    title = f"{number} clip{'' if number == 1 else 's'} failed"
    return html.page(title, "\n".join([*parts, html.table(_HEAD, _rows(document))]))


def _rows(document: Document) -> list[list[str]]:
    return [[one[key] or "-" for key in _HEAD] for one in document["failures"]]


def _counts(document: Document) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in document["counts"].items())
