"""The hard cases as a page and as one picture; all maps share one scale of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ....stages.synth.hard import KINDS, Kind
from ....train.show.drawing import COLOUR_MAP, COSINE, Panel, grid, to_png
from ...output import Document
from .. import html
from ..media import as_jpeg

if TYPE_CHECKING:
    from .run import MappedClip

Limits = tuple[float, float]
_INTRODUCTION = (
    "Solid boxes sound, dashed ones do not. All maps share one scale, so that cold maps stay dark. "
    "Found: the peak lies in a solid box. The clips show classes the run was trained with, and "
    "lie beside this page as <case>-<number>.mp4."
)
HEAD = ("case", "clips", "found", "mean peak")
_PNG_CLIPS = 3
_PAIR_PX = 480


def limits_of(shown: Sequence[MappedClip]) -> Limits:
    """Return the ends of the scale: the lowest and the highest value of all maps."""
    return (
        min(float(one.heat.min()) for one in shown),
        max(float(one.heat.max()) for one in shown),
    )


def draw_cases(shown: Sequence[MappedClip]) -> bytes:
    """Draw a row for each case: frame and map of its first clips, as PNG."""
    limits = limits_of(shown)
    rows = [
        [panel for one in _of(kind, shown)[:_PNG_CLIPS] for panel in _panels(one, limits)]
        for kind in KINDS
    ]
    titles = [kind.name for kind in KINDS]
    return grid(rows, row_titles=titles, panel_in=1.3, scale=COSINE)


def page_of_cases(document: Document, shown: Sequence[MappedClip]) -> str:
    """Return a page: each case, what to expect of it, and its clips with maps, to be played.

    Args:
        document: The `avpipe.cases/1` document.
        shown: The clips.
    """
    limits = limits_of(shown)
    rows = [
        (one["case"], one["clips"], one["found"], f"{one['peak']:.3f}") for one in document["cases"]
    ]
    parts = [
        html.paragraph(_INTRODUCTION),
        html.picture(_scale(limits), "the scale of colours, cosines", width_px=360),
        html.table(HEAD, rows, " rrr"),
        *(_section(kind, _of(kind, shown), limits) for kind in KINDS),
    ]
    return html.page(f"Hard cases: {document['run']}", "\n".join(parts))


def _section(kind: Kind, shown: Sequence[MappedClip], limits: Limits) -> str:
    return "\n".join(
        [
            html.heading(kind.name),
            html.paragraph(kind.what),
            html.paragraph(f"To be expected: {kind.expect}", "soft"),
            html.block("cards", [_clip(one, limits) for one in shown]),
        ]
    )


def _clip(one: MappedClip, limits: Limits) -> str:
    heard = " and ".join(one.heard) or "nothing"
    ending = {True: ", in a box that sounds", False: ", in no box that sounds", None: ""}
    caption = f"heard: {heard}; peak {one.peak:.3f}{ending[one.is_found]}"
    pair = as_jpeg(grid([_panels(one, limits)], panel_in=2.2))
    parts = [
        html.picture(pair, f"frame and map of {one.case.name}", caption, _PAIR_PX),
        html.player(one.video, f"sound of {one.case.name}", "audio"),
    ]
    return html.block("", parts)


def _panels(one: MappedClip, limits: Limits) -> list[Panel]:
    boxes = (one.case.sounding, one.case.silent)
    return [
        Panel("", one.frame, None, *boxes),
        Panel("", one.frame, one.heat, *boxes, limits=limits),
    ]


def _of(kind: Kind, shown: Sequence[MappedClip]) -> list[MappedClip]:
    return [one for one in shown if one.case.kind == kind]


def _scale(limits: Limits) -> bytes:
    """Draw the scale of colours as PNG."""
    figure = Figure((3.6, 0.55), dpi=160, layout="constrained")
    bar = figure.colorbar(
        ScalarMappable(Normalize(*limits), COLOUR_MAP), cax=figure.subplots(),
        orientation="horizontal",
    )  # fmt: skip
    bar.ax.tick_params(labelsize=7)
    bar.set_label("cosine of sound and picture", fontsize=7)
    return to_png(figure)
