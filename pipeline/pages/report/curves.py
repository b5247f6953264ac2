"""What training told, for a report: `metrics.jsonl` and `validation.jsonl` as charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....train.runs.metric_lines import Values, read_lines
from .. import html
from ..chart import Curve, chart

_POINTS = 240
"""Points of a line; longer records are means of as many steps in a row."""
_NO_TERMS = ("step", "epoch")
_LAST = "lr"
LoggedSteps = list[Values]


class History(NamedTuple):
    """What a run told.

    Attributes:
        name: The run's short name.
        steps: A record for each step.
        validation: A record for each epoch; empty without `--val-ids`.
    """

    name: str
    steps: LoggedSteps
    validation: LoggedSteps


def read_history(run: Path, name: str) -> History:
    """Read a run's records; one that is half written, or of an import, is no error."""
    return History(name, *(read_lines(run / f"{file}.jsonl") for file in ("metrics", "validation")))


def training_section(histories: Sequence[History]) -> str:
    """Return the section on training: a chart for each term, a line for each run."""
    told = [history for history in histories if history.steps]
    if not told:
        return html.heading("Training") + html.paragraph(
            "No record of training: these weights were imported, or no step is done yet.", "soft"
        )
    names = dict.fromkeys(name for one in told for record in one.steps for name in record)
    terms = [name for name in names if name not in (*_NO_TERMS, _LAST)]
    charts = [_chart(name, told) for name in (*terms, *(_LAST,) * (_LAST in names))]
    return "\n".join([html.heading("Training"), *_explained(told), html.block("cards", charts)])


def _explained(told: Sequence[History]) -> list[str]:
    width = max(_width(len(one.steps)) for one in told)
    lines = ["The loss, its terms as the recipe names them, and the learning rate over steps."]
    if width > 1:
        lines.append(f"A point is the mean of {width} steps.")
    if any(one.validation for one in told):
        lines.append("Dashed: clips held out for validation, after each epoch.")
    return [html.paragraph(" ".join(lines), "soft")]


def _chart(term: str, told: Sequence[History]) -> str:
    lines = []
    for colour, one in enumerate(told):
        with_term = [record for record in one.steps if term in record]
        if with_term:
            lines.append(Curve(one.name, *_thinned(with_term, term), colour))
        checks = [record for record in one.validation if term in record]
        if checks:
            x, y = ([record[key] for record in checks] for key in ("step", term))
            lines.append(Curve(f"{one.name}, validation", x, y, colour, dashed=True))
    return chart("learning rate" if term == _LAST else term, lines, "step")


def _thinned(record: LoggedSteps, term: str) -> tuple[list[float], list[float]]:
    """Return steps and values, means of neighbours where there are too many points."""
    both = np.array([(line["step"], line[term]) for line in record])
    width = _width(len(both))
    starts = np.arange(0, len(both), width)
    sums = np.add.reduceat(both, starts, axis=0)
    counts = np.diff(np.append(starts, len(both)))
    x, y = (sums / counts[:, None]).T
    return x.tolist(), y.tolist()


def _width(num_steps: int) -> int:
    return math.ceil(num_steps / _POINTS)


def last_values(record: LoggedSteps) -> Mapping[str, float]:
    """Return the last record; empty if there is none."""
    return record[-1] if record else {}
