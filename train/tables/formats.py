r"""The table of `evaluate` for papers and spreadsheets: LaTeX, Markdown, CSV.

LaTeX needs `\usepackage{booktabs}`. Text is escaped for each.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ...printable import cell, printable
from ..negatives.lines import NEGATIVE_ALL, NEGATIVE_KIND, draw_lines, negative_text
from ..score.table import (
    KNOWS_TRUTH,
    OF_ALL,
    OF_RUN,
    Document,
    Figures,
    alpha_rows,
    figure_text,
    form_of,
    head_text,
    interval_lines,
    remarks,
    short_names,
    subset_rows,
)
from ..truths.forms import Form

TableFormat = Literal["latex", "markdown", "csv"]
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


@dataclass(frozen=True)
class TableLine:
    """A row of the table.

    Attributes:
        title: What was scored.
        source: The paper and table it is from; "" for what was measured here.
        scores: By column.
        std: Standard deviation over runs, where there are several.
        ends: 95 % intervals over clips, where they were asked for.
        ranked: Whether it may be the best of a column: rows of other clips, of rules that were
            varied, and of what knows the truth, are not.
    """

    title: str
    source: str
    scores: Figures
    std: Figures
    ends: Mapping[str, Sequence[float] | None]
    ranked: bool = True


def formatted(document: Document, how: TableFormat, *, bold: bool = False) -> str:
    """Return the table of an evaluation.

    Args:
        document: What `evaluate` returned.
        how: `csv` has figures as they are, shares of 1, with the ends of intervals and deviations
            in columns of their own; the others as papers print them.
        bold: Print the best of each column in bold, published rows included; not in CSV.
    """
    form = form_of(document["runs"][0]["benchmark"])
    lines = list(lines_of(document))
    beside = negative_table(document)
    if how == "csv":
        return _csv(lines, list(form.columns), beside)
    best = _best(lines, form) if bold else {}
    cells = [[line.title, *_cells(line, form, best, how), line.source] for line in lines]
    heads = ["", *form.columns.values(), "source"]
    notes = [head_text(document["runs"][0]), *remarks(document, form), *document["notices"]]
    notes += interval_lines(document, form)
    write = _latex if how == "latex" else _markdown
    text = write(heads, cells, notes)
    if not beside:
        return text
    head, *rows = beside
    figures = [[row[0], *(_negative_cell(own, how) for own in row[1:-1]), row[-1]] for row in rows]
    drawn = draw_lines(document["runs"][0]["negatives_from"])
    return f"{text}\n\n{write(head, figures, list(drawn))}"


class NegativeCell(NamedTuple):
    """A figure of sounds of nothing in the picture.

    Attributes:
        key: Which.
        value: None where there is none.
        std: Its deviation over draws, where it was drawn several times.
        kind: Of which kind of sounds; "" of all together.
    """

    key: str
    value: float | None
    std: float | None
    kind: str = ""


def negative_table(document: Document) -> list[list[Any]]:
    """Return the heading and rows of what sounds of nothing in the picture score; may be empty.

    A row is a title, a `NegativeCell` for each column, and the threshold's rule.
    """
    told = document["runs"][0].get("negatives_from")
    if not told:
        return []
    of_kind = [(kind, key) for kind in told["kinds"] for key in NEGATIVE_KIND]
    heads = [*NEGATIVE_ALL.values(), *(f"{NEGATIVE_KIND[key]} {kind}" for kind, key in of_kind)]
    found: list[list[Any]] = [["", *heads, "rule"]]
    names = short_names([group["name"] for group in document["groups"]])
    for group in document["groups"]:
        for level, rule in told["rules"].items():
            figures = group["mean"]["negatives"][level]
            std = figures.get("std", {})
            cells = [NegativeCell(key, figures[key], std.get(key)) for key in NEGATIVE_ALL]
            cells += [
                NegativeCell(key, figures[kind].get(key), std.get(kind, {}).get(key), kind)
                for kind, key in of_kind
            ]
            found.append([f"{names[group['name']]}, {level}", *cells, rule])
    return found


def _negative_cell(own: NegativeCell, how: TableFormat) -> str:
    text = negative_text(own.key, own.value, own.std)
    return text.replace(" ± ", r" $\pm$ ") if how == "latex" else text


def lines_of(document: Document) -> Iterator[TableLine]:
    """Yield the rows: runs and their means, what needs no sound, subsets, what papers print."""
    groups, runs = document["groups"], {run["run"]: run for run in document["runs"]}
    names = short_names([group["name"] for group in groups])
    for group in groups:
        num = len(group["runs"])
        mean, std = group["mean"]["scores"], group["std"]["scores"]
        title = names[group["name"]] + (f", mean of {num}" if num > 1 else "")
        ends = runs[group["runs"][0]].get("intervals", {}) if num == 1 else {}
        yield TableLine(title, "", mean["av"], std["av"] if num > 1 else {}, ends)
        for source, words in OF_RUN.items():
            if mean.get(source):
                yield TableLine(
                    f"{title}, {words}", "", mean[source], std[source] if num > 1 else {}, {}
                )
    for source, words in OF_ALL.items():
        if found := document["runs"][0]["scores"].get(source):
            yield TableLine(words, "", found, {}, {}, ranked=source != KNOWS_TRUTH)
    for title, scores in (*subset_rows(document), *alpha_rows(document)):
        yield TableLine(title.strip(), "", scores, {}, {}, ranked=False)
    for row in document["published"]:
        if row["main"]:
            where = f"{row['source']}, trained on {row['trained_on']}"
            yield TableLine(row["method"], where, row["scores"], {}, {})


def _cells(line: TableLine, form: Form, best: Mapping[str, str], how: TableFormat) -> Iterator[str]:
    """Yield a row's figures; LaTeX as it is to be read, the rest to be escaped."""
    for column in form.columns:
        figure = text = figure_text(line.scores.get(column), form)
        if line.ranked and text != "-" and best.get(column) == text:
            text = rf"\textbf{{{text}}}" if how == "latex" else f"**{text}**"
        if figure != "-" and (spread := line.std.get(column)) is not None:
            sign = r" $\pm$ " if how == "latex" else " ± "
            text += sign + figure_text(spread, form)
        if figure != "-" and (ends := line.ends.get(column)):
            low, high = (figure_text(end, form) for end in ends)
            text += f" [{low}, {high}]"
        yield text


def _best(lines: Sequence[TableLine], form: Form) -> dict[str, str]:
    """Return the largest figure of each column, as it is printed: what looks alike is a tie."""
    found = {}
    for column in form.columns:
        ranked = [line.scores.get(column) for line in lines if line.ranked]
        if known := [value for value in ranked if value is not None and math.isfinite(value)]:
            found[column] = figure_text(max(known), form)
    return found


def _latex(heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    columns = "l" + "r" * (len(heads) - 2) + "l"
    body = [rf"% {printable(note)}" for text in notes for note in text.splitlines()]
    body += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(map(_tex, heads))]
    body.append(r"\midrule")
    body += [_latex_row([_tex(row[0]), *row[1:-1], _tex(row[-1])]) for row in rows]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])


def _latex_row(cells: Iterator[str] | Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(text))


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    def row(cells: Sequence[str], escape: Callable[[str], str] = str) -> str:
        return f"| {' | '.join(map(escape, cells))} |"

    lines = [row(heads, _mark), "|---|" + "---:|" * (len(heads) - 2) + "---|"]
    lines += [row([_mark(own[0]), *own[1:-1], _mark(own[-1])]) for own in rows]
    told = [f"{_mark(note)}  " for text in notes for note in text.splitlines()]
    return "\n".join([*lines, *([""] if told else []), *told])


def _mark(text: str) -> str:
    return re.sub(r"([\\|`*_<\[\]])", r"\\\1", printable(text))


def _csv(
    lines: Sequence[TableLine], columns: Sequence[str], beside: Sequence[Sequence[Any]]
) -> str:
    """Write one table: rows of sounds of nothing in the picture have columns of their own."""
    rows = [(line.title, line.source, _values(line, columns)) for line in lines]
    rows += [(row[0], row[-1], _negative_values(row[1:-1])) for row in beside[1:]]
    extra = [f"{column}{end}" for column in columns for end in ("", "_std", "_low", "_high")]
    extra += [name for row in beside[1:2] for own in row[1:-1] for name in _names(own)]
    used = [name for name in extra if any(values.get(name) for *_, values in rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["title", "source", *used])
    for title, source, values in rows:
        writer.writerow([cell(title), cell(source), *(values.get(name, "") for name in used)])
    return text.getvalue().rstrip("\n")


def _names(own: NegativeCell) -> tuple[str, str]:
    """Return the columns of a figure and of its deviation."""
    name = f"{own.kind or 'negatives'}_{own.key}"
    return name, f"{name}_std"


def _negative_values(cells: Sequence[NegativeCell]) -> dict[str, str]:
    return {
        name: f"{value:.10g}"
        for own in cells
        for name, value in zip(_names(own), (own.value, own.std), strict=True)
        if value is not None
    }


def _values(line: TableLine, columns: Sequence[str]) -> dict[str, str]:
    """Return a row's figures as they are, by the column of the CSV."""
    found: dict[str, str] = {}
    for column in columns:
        low, high = line.ends.get(column) or (None, None)
        parts = {"": line.scores.get(column), "_std": line.std.get(column), "_low": low,
                 "_high": high}  # fmt: skip
        found |= {f"{column}{end}": f"{v:.10g}" for end, v in parts.items() if v is not None}
    return found
