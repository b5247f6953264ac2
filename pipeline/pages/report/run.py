"""`avpipe report`: all that is known of runs as one page that is one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....cache.schema import MANIFEST
from ....cache.store import Cache
from ....train.notices import collected
from ....train.runs.checkpoint import latest_checkpoint
from ....train.runs.record import RunRecord, read_record
from ....train.runs.sealed import sign
from ....train.score.table import short_names
from ...output import Document
from ...tally import status
from .. import html
from ..cards.run import write_result
from ..chart import STYLE
from .curves import last_values, read_history, training_section
from .origin import data_section, origin_section, stamps

NOT_SCORED = "no scores on the page: where true boxes are known, name them with --annotations"


def make_report(
    folders: Sequence[Path],
    cache: Path,
    out: Path,
    evaluation: dict[str, Any] | None,
    annotations: Path | None,
    device: str,
) -> dict[str, Any]:
    """Write the page; return the `avpipe.report/1` document.

    Args:
        folders: Of the runs.
        cache: What they learnt from, if it is there.
        out: The page.
        evaluation: Their `avpipe.evaluate/1` document, if they were scored.
        annotations: What they were scored by.
        device: For maps, should those of the evaluation be gone meanwhile.

    Raises:
        CacheCorruptError: A run's record is damaged.
        CacheUnwritableError: The page cannot be written.
    """
    has_cache = (cache / MANIFEST).is_dir()
    with collected() as told:
        runs = [_run(folder) for folder in folders]
        scored = evaluation["notices"] if evaluation else [NOT_SCORED]
        document = {
            "schema": "avpipe.report/1",
            "page": str(out),
            "runs": runs,
            "evaluation": evaluation,
            "data": status(cache) if has_cache else None,
            "notices": list(dict.fromkeys([*scored, *told])),
        }
        overlays = ""
        if evaluation and annotations is not None:
            from .overlays import overlays_section

            overlays = overlays_section(evaluation["runs"][0], Cache(cache), annotations, device)
        page = _page(cache, folders, document, overlays)
    write_result(out, sign(page))
    return document


def _run(folder: Path) -> dict[str, Any]:
    record, history = read_record(folder), read_history(folder, "")
    return {
        "run": str(folder),
        "recipe": record.recipe_name,
        "seed": record.seed,
        "clips": len(record.ids),
        "steps": _steps(folder),
        "loss": last_values(history.steps).get("loss"),
        "val_loss": last_values(history.validation).get("loss"),
        "imported": record.imported is not None,
    }


def _steps(folder: Path) -> int:
    """Return the steps of the newest checkpoint."""
    found = latest_checkpoint(folder)
    return found[1] if found else 0


def _page(cache: Path, folders: Sequence[Path], document: Document, overlays: str) -> str:
    from .scores import curves_section, scores_section

    names = short_names([str(folder) for folder in folders])
    records = {names[str(folder)]: read_record(folder) for folder in folders}
    steps = {names[str(folder)]: _steps(folder) for folder in folders}
    evaluation = document["evaluation"]
    lines = dict.fromkeys([*stamps(records), *document["notices"]])
    parts = [html.paragraph(_summary(folders, records), "soft")]
    parts += [html.remark(line) for line in lines]
    if evaluation:
        parts += [scores_section(evaluation), curves_section(evaluation), overlays]
    histories = [read_history(folder, names[str(folder)]) for folder in folders]
    parts += [
        training_section(histories),
        data_section(document["data"], cache),
        origin_section(records, steps, evaluation),
    ]
    return html.page(_title(folders, records), "\n".join(filter(None, parts)), STYLE)


def _title(folders: Sequence[Path], records: Mapping[str, RunRecord]) -> str:
    recipes = list(dict.fromkeys(record.recipe_name for record in records.values()))
    if len(folders) == 1:
        return f"{recipes[0]}, seed {next(iter(records.values())).seed}"
    return f"{len(folders)} runs: {', '.join(recipes)}"


def _summary(folders: Sequence[Path], records: Mapping[str, RunRecord]) -> str:
    from .... import __version__

    runs = ", ".join(map(str, folders))
    return f"{runs}. Made by avpipe {__version__}; nothing on this page is loaded from elsewhere."


def report_text(document: Document) -> str:
    """Render `avpipe report`: the page, and what is missing from it."""
    return "\n".join([document["page"], *document["notices"]])
