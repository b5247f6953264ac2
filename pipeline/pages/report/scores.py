"""The scores of an evaluation as tables and curves; what papers published stands apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....train.score.scoring import SIZES
from ....train.score.table import (
    Figures,
    alpha_rows,
    figure_text,
    form_of,
    head_text,
    measured_rows,
    remarks,
    short_names,
    subset_title,
)
from ....train.tables.results import read_results, results_path
from ....train.truths.forms import Form
from ...output import Document
from .. import html
from ..chart import Curve, chart

ScoreRow = tuple[str, Figures]
RULES = {
    "median": "the upper half of a map's pixels is predicted",
    "adaptive": "as many pixels are predicted as the truth has",
    "fixed": "pixels above half are predicted",
}
"""What each rule that cuts a map says; see docs/protocol.md."""

_BY_SIZE, _BY_NEGATIVE, _BY_LIST = "By size of the true boxes", "By kind of negative", "By class"


def scores_section(evaluation: Document) -> str:
    """Return the section on scores: measured ones, then published ones, marked as such."""
    first = evaluation["runs"][0]
    form = form_of(first["benchmark"])
    rows = [*measured_rows(evaluation, form), *alpha_rows(evaluation)]
    parts = [
        html.heading("Scores"),
        html.paragraph(f"{head_text(first)}."),
        _table("measured", rows, form.columns, form),
        *(html.paragraph(line, "soft") for line in _legend(form)),
        *(html.remark(line) for line in remarks(evaluation, form)),
        *_published(evaluation["published"], form),
        *_subset_tables(evaluation, form),
    ]
    return "\n".join(parts)


def _legend(form: Form) -> list[str]:
    """Return what the columns mean; that of synth has a line for each."""
    return [" ".join(form.legend.splitlines())] if form.percent else form.legend.splitlines()


def _table(title: str, rows: Iterable[ScoreRow], columns: Mapping[str, str], form: Form) -> str:
    """Return a table of scores; a row without any is a title of those below it."""
    cells = [
        [name, *(figure_text(scores.get(key), form) if scores else "" for key in columns)]
        for name, scores in rows
    ]
    return html.table([title, *columns.values()], cells, " " + "r" * len(columns))


def _with_figures(rows: Sequence[ScoreRow], columns: Mapping[str, str]) -> dict[str, str]:
    """Return the columns that have a figure in any row."""
    has_any = {key for _, scores in rows for key, value in scores.items() if value is not None}
    return {key: title for key, title in columns.items() if key in has_any}


def _subset_tables(evaluation: Document, form: Form) -> Iterator[str]:
    """Yield a table by size, one by kind of negative and one of the benchmark's own lists."""
    run = evaluation["runs"][0]
    kinds: dict[str, dict[str, list[ScoreRow]]] = {}
    for title, group in _titled_groups(evaluation):
        for subset, by_source in group["mean"]["subsets"].items():
            listed = form.subset_title is not None or subset in run["pairs"]
            kind = _BY_SIZE if subset in SIZES else _BY_LIST if listed else _BY_NEGATIVE
            row = subset_title(run, subset), by_source["av"]
            kinds.setdefault(kind, {}).setdefault(title, []).append(row)
    for kind, tables in kinds.items():
        yield html.heading(kind, 3)
        for title, rows in tables.items():
            yield _table(title, rows, _with_figures(rows, form.columns), form)
        if kind == _BY_SIZE:
            bounds = [f"{name} from {low:,} px" for name, (low, _) in SIZES.items()]
            yield html.paragraph(f"Of 224 x 224 pixels: {', '.join(bounds)}.", "soft")


def _titled_groups(evaluation: Document) -> Iterator[tuple[str, Document]]:
    """Yield the groups of runs that differ by their seed alone, with the titles of their tables."""
    groups = evaluation["groups"]
    names = short_names([group["name"] for group in groups])
    for group in groups:
        title = names[group["name"]] if len(groups) > 1 else "audio-visual map"
        num = len(group["runs"])
        yield title + (f", means of {num} runs" if num > 1 else ""), group


def _published(published: Sequence[Document], form: Form) -> Iterator[str]:
    """Yield what papers print; the rows that are quoted less often are folded."""
    if not published:
        return
    yield html.heading("Published, not measured here", 3)
    yield html.paragraph(
        "As the papers print them: each by its paper's own protocol, trained on its own list, on "
        "the clips that its authors had.",
        "soft",
    )
    main = [row for row in published if row["main"]]
    others = [row for row in published if not row["main"]]
    if main:
        yield _published_table(main, form)
    if others:
        title = f"{len(others)} more published rows: other training sets, ablations"
        yield html.fold(title, _published_table(others, form))


def _published_table(published: Sequence[Document], form: Form) -> str:
    named = dict.fromkeys(key for row in published for key in row["scores"])
    own = {key: title for key, title in form.columns.items() if key in named}
    titles = own | {key: key.replace("max_f1_", "max-F1 ") for key in named if key not in own}
    cells = [
        [
            row["method"],
            *(figure_text(row["scores"].get(key), form) for key in titles),
            row["trained_on"],
            row["source"],
        ]
        for row in published
    ]
    head = ["published", *titles.values(), "trained on", "source"]
    return html.table(head, cells, " " + "r" * len(titles))


def curves_section(evaluation: Document) -> str:
    """Return the section of curves, read from what the evaluation left in the runs' folders."""
    runs = evaluation["runs"]
    curves = [read_curves(run) for run in runs]
    names = short_names([run["run"] for run in runs])
    headline = runs[0]["protocol_fields"]["headline"]
    accuracy = rule_of(form_of(runs[0]["benchmark"]).accuracy, headline)
    charts = [
        *_success_charts(curves, list(names.values()), (headline, accuracy, "adaptive")),
        *(
            _confidence_chart(one, names[run["run"]] if len(runs) > 1 else "", accuracy, headline)
            for run, one in zip(runs, curves, strict=True)
            if one.get("thresholds")
        ),
    ]
    if not charts:
        return ""
    told = (
        "Success rate: share of the clips with a source whose cIoU is at least that. Over "
        "confidence: a source is found where its map is this sure and its cIoU is 0.5 or more."
    )
    parts = [html.heading("Curves"), html.paragraph(told, "soft"), html.block("cards", charts)]
    return "\n".join(parts)


def rule_of(score: str, headline: str) -> str:
    """Return the rule behind a score: its suffix, or the protocol's."""
    return next((rule for rule in RULES if score.endswith(f"_{rule}")), headline)


def read_curves(run: Document) -> dict[str, Any]:
    """Read the curves of a run from the scores that its evaluation stored."""
    path = results_path(Path(run["run"]), run["benchmark"], run["protocol"])
    return dict(read_results(path)["curves"])


def _of_rule(curves: Mapping[str, Any], name: str, rule: str, headline: str) -> list[float]:
    values = curves.get(name if rule == headline else f"{name}_{rule}", [])
    return [float("nan") if value is None else value for value in values]


def _success_charts(
    curves: Sequence[Mapping[str, Any]], names: Sequence[str], rules: tuple[str, ...]
) -> Iterator[str]:
    """Yield, for each rule, the share of clips that reach a cIoU; a line for each run."""
    headline = rules[0]
    for rule in dict.fromkeys(rules):
        lines = [
            Curve(
                name, one["ciou_thresholds"], _of_rule(one, "success_rate", rule, headline), colour
            )
            for colour, (name, one) in enumerate(zip(names, curves, strict=True))
            if one.get("ciou_thresholds")
        ]
        if lines:
            title = f"Success rate over cIoU: {RULES[rule]}"
            yield chart(title, lines, "cIoU at least", (0, 1))


def _confidence_chart(curves: Mapping[str, Any], name: str, rule: str, headline: str) -> str:
    """Draw what is found, and rightly, where only maps this sure are believed."""
    lines = [
        Curve(title, curves["thresholds"], _of_rule(curves, title.lower(), rule, headline), colour)
        for colour, title in enumerate(("Precision", "Recall", "F1"))
    ]
    title = f"{name}{name and ': '}Precision, recall, F1 over confidence: {RULES[rule]}"
    return chart(title, lines, "confidence at least", (0, 1))
