"""Line charts as SVG inside a page: colours follow the reader's setting, no script is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from . import html

_COLOURS = ("#0b62b8", "#c2410c", "#1b7837", "#8e3b9e", "#8a6d00", "#0e7c86", "#b3224d", "#5f6670")
_IN_THE_DARK = (
    *("#7db7ff", "#ff9f6b", "#7fd492", "#d59cf0"),
    *("#e5c453", "#5fd0d8", "#ff8fae", "#b4bac2"),
)
_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 8, 36
_DASHES = "5 3"


def _variables(colours: Sequence[str]) -> str:
    return "; ".join(f"--line{number}: {colour}" for number, colour in enumerate(colours))


STYLE = f"""
:root {{ {_variables(_COLOURS)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(_IN_THE_DARK)} }} }}
.chart svg {{ width: 100%; max-width: 34rem; height: auto; display: block }}
.chart text {{ font: 11px system-ui, sans-serif; fill: var(--soft) }}
.chart path {{ fill: none; stroke-width: 1.7; stroke-linejoin: round }}
.chart .grid {{ stroke: var(--line); stroke-width: 1 }}
.chart figcaption {{ display: flex; flex-wrap: wrap; gap: .1rem 1rem }}
.chart figcaption svg {{ display: inline-block; width: 1.6rem; height: .6rem; margin-right: .4rem }}
"""
"""To be given to `html.page`."""


class Curve(NamedTuple):
    """One line of a chart.

    Attributes:
        name: For the legend.
        x: Its points; those whose y is not finite leave a gap.
        y: The same length.
        colour: Number of its colour; they begin again after eight.
        dashed: Whether it is dashed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dashed: bool = False


def chart(
    title: str, lines: Sequence[Curve], x_label: str, y_limits: tuple[float, float] | None = None
) -> str:
    """Return a chart with its title and, where there are several lines, a legend.

    Args:
        title: Above it; what is up.
        lines: At least one.
        x_label: Below the axis.
        y_limits: Ends of the axis; those of the lines if None.
    """
    x_ticks = _ticks([value for line in lines for value in line.x])
    y_ticks = _ticks(y_limits or [value for line in lines for value in line.y])
    spans = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])
    parts = [*_grid(x_ticks, y_ticks, spans), *(_path(line, spans) for line in lines)]
    label = f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">'
    parts.append(f"{label}{html.text(x_label)}</text>")
    drawing = "\n".join(parts)
    legend = "".join(map(_legend, lines)) if len(lines) > 1 else ""
    return (
        f'<figure class="chart">{html.heading(title, 3)}'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.text(title)}">\n'
        f"{drawing}\n</svg>{legend and f'<figcaption>{legend}</figcaption>'}</figure>"
    )


Spans = tuple[tuple[float, float], tuple[float, float]]


def _ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers around all values that are finite."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    return [float(tick) for tick in MaxNLocator(5).tick_values(low, high)]


def _grid(x_ticks: Sequence[float], y_ticks: Sequence[float], spans: Spans) -> Iterator[str]:
    for tick in y_ticks:
        _, y = _place(x_ticks[0], tick, spans)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 5}" y="{y + 4:g}" text-anchor="end">{tick:.6g}</text>'
    bottom = _HEIGHT - _BOTTOM
    for number, tick in enumerate(x_ticks):
        x, _ = _place(tick, y_ticks[0], spans)
        side = "end" if number == len(x_ticks) - 1 else "middle"
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>'
        yield f'<text x="{x}" y="{bottom + 16}" text-anchor="{side}">{tick:.6g}</text>'


def _path(line: Curve, spans: Spans) -> str:
    """Draw a line; a point alone becomes a dot, a point that is not finite a gap."""
    words, pen_is_down = list[str](), False
    for x, y in zip(line.x, line.y, strict=True):
        is_there = math.isfinite(x) and math.isfinite(y)
        if is_there:
            words.append("{}{},{}".format("L" if pen_is_down else "M", *_place(x, y, spans)))
        pen_is_down = is_there
    is_dot = len(words) == 1
    wide = ' stroke-linecap="round" style="stroke-width: 6"' if is_dot else ""
    return f'<path {_stroke(line)}{wide} d="{"".join(words)}{"h.1" * is_dot}"/>'


def _stroke(line: Curve) -> str:
    dashes = f' stroke-dasharray="{_DASHES}"' if line.dashed else ""
    return f'stroke="var(--line{line.colour % len(_COLOURS)})"{dashes}'


def _place(x: float, y: float, spans: Spans) -> tuple[float, float]:
    """Return where a point lies in the drawing."""
    (x1, x2), (y1, y2) = spans
    across = _LEFT + (x - x1) / (x2 - x1) * (_WIDTH - _LEFT - _RIGHT)
    up = (y - y1) / (y2 - y1) * (_HEIGHT - _TOP - _BOTTOM)
    return round(across, 1), round(_HEIGHT - _BOTTOM - up, 1)


def _legend(line: Curve) -> str:
    return (
        f'<span><svg viewBox="0 0 26 10"><path {_stroke(line)} d="M0,5H26"/></svg>'
        f"{html.text(line.name)}</span>"
    )
