"""Pictures of localization maps, drawn with matplotlib's Agg."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...printable import printable

Map = NDArray[np.floating[Any]]
COLOUR_MAP = "inferno"
COSINE = "cosine of each place with the sound"
"""What the values of an audio-visual map are."""
_DIMMED = 0.6
"""What a map leaves of the frame's brightness."""
_PANEL_IN = 2.6
_WIDE = 1.25
_LINE_IN, _CHARACTER_IN = 0.14, 0.062
"""Height of a line and width of a letter of a small title, on average."""
_LEAST_IN = 1.25
"""Width of a panel that the names of most clips fit above."""
_LEGEND_SHARE = 2 / 3
"""A legend with words covers no more of a picture's width."""
_SCALE_IN = (0.42, 3.6)
"""Height of a scale below a grid, and the width that its words need."""
_SOUNDING = {"edgecolor": "white", "linestyle": "solid"}
_SILENT = {"edgecolor": "white", "linestyle": (0, (2, 2))}


@dataclass(frozen=True)
class Panel:
    """One part of a picture.

    Attributes:
        title: Above it.
        frame: `(H, W, 3)` uint8 RGB.
        heat: `(H, W)` map laid over it; None for the plain frame.
        sounding: `(k, 4)` boxes drawn solid, shares of the sides.
        silent: `(k, 4)` boxes drawn dashed.
        unit: What the map's values are, for the colour bar; "" for none.
        limits: Values at the ends of the colours; those of the map if None.
        mask: `(h, w)` pixels of what sounds, its outline drawn solid.
    """

    title: str
    frame: NDArray[np.uint8]
    heat: Map | None = None
    sounding: NDArray[np.float64] | None = None
    silent: NDArray[np.float64] | None = None
    unit: str = ""
    limits: tuple[float, float] | None = None
    mask: NDArray[np.bool_] | None = None


def heat_over(
    frame: NDArray[np.uint8], heat: Map, limits: tuple[float, float] | None = None
) -> NDArray[np.float64]:
    """Lay a map over a frame: dim where it is low, glowing where it is high.

    Args:
        frame: `(H, W, 3)` uint8 RGB.
        heat: `(H, W)`.
        limits: Values at the ends of the colours; those of the map if None.

    Returns:
        `(H, W, 3)` in [0, 1].
    """
    share = _normalize(heat, limits)(heat).filled(0)
    leaves, glow = _heat_colours(share)
    return np.asarray(leaves[..., None] * frame / 255 + glow)


def heat_table() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what `heat_over` makes of 256 shares from 0 to 1.

    Returns:
        `(256,)`, what is left of the frame, and `(256, 3)`, what is added, RGB of 255.
    """
    leaves, glow = _heat_colours(np.linspace(0, 1, 256))
    return leaves.astype(np.float32), (glow * 255).astype(np.float32)


def _heat_colours(share: Map) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is left of the frame, `(...)`, and what is added, `(..., 3)` in [0, 1]."""
    strength = 0.15 + 0.6 * share
    colours = mpl.colormaps[COLOUR_MAP](share)[..., :3]
    return np.asarray((1 - strength) * _DIMMED), np.asarray(strength[..., None] * colours)


def legend(limits: tuple[float, float], height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Draw the colours from low to high with their values, for a corner of a small picture.

    Args:
        limits: Values at the ends.
        height_px: Of the whole picture.
        width_px: The same.

    Returns:
        `(h, w, 4)` RGBA; without words, then without the values where there is no room for them.
    """
    text_px = max(10, min(height_px, width_px) // 26)
    font = ImageFont.load_default(text_px)
    low, high = (f"{value:.2f}" for value in limits)
    pad, bar = text_px // 2, max(4, min(6 * text_px, width_px // 4))
    for end in (f"{high}  cosine", high):
        low_px, high_px = (math.ceil(font.getlength(text)) for text in (low, end))
        width = low_px + bar + high_px + 4 * pad
        if width <= _LEGEND_SHARE * width_px:
            high = end
            break
    if width > width_px:
        low = high = ""
        low_px, high_px, width = -pad, -pad, bar + 2 * pad
    picture = Image.new("RGBA", (width, 2 * text_px), (0, 0, 0, 150))
    colours = mpl.colormaps[COLOUR_MAP](np.linspace(0, 1, bar), bytes=True)
    strip = np.broadcast_to(colours, (text_px, bar, 4)).copy()
    picture.paste(Image.fromarray(strip), (low_px + 2 * pad, text_px // 2))
    draw = ImageDraw.Draw(picture)
    for text, left in ((low, pad), (high, low_px + bar + 3 * pad)):
        draw.text((left, text_px), text, fill="white", font=font, anchor="lm")
    return np.array(picture)


def _normalize(heat: Map, limits: tuple[float, float] | None) -> Normalize:
    low, high = limits or (float(heat.min()), float(heat.max()))
    return Normalize(low, high if high > low else low + 1, clip=True)


def picture_of_panels(title: str, panels: Sequence[Panel]) -> bytes:
    """Draw panels with a title and colour bars: side by side, wide frames in two rows.

    Returns:
        The picture as PNG.
    """
    height, width = panels[0].frame.shape[:2]
    num_rows = 2 if width > _WIDE * height and len(panels) > 2 else 1
    num_columns = math.ceil(len(panels) / num_rows)
    size_in = (
        _PANEL_IN * width / height * num_columns + 0.6,
        (_PANEL_IN + 0.2) * num_rows + 0.25,
    )
    figure = Figure(size_in, dpi=110, layout="constrained")
    figure.suptitle(plain(title), fontsize=11, parse_math=False)
    places = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(places, panels, strict=False):
        draw_panel(axes, panel)
        if panel.heat is not None and panel.unit:
            _colour_bar(figure, axes, panel)
    return to_png(figure)


def grid(
    rows: Sequence[Sequence[Panel]],
    *,
    row_titles: Sequence[str] = (),
    panel_in: float = 1.7,
    scale: str = "",
) -> bytes:
    """Draw rows of panels close together.

    Args:
        rows: Panels; all rows are as long as the first, or shorter. Titles may have several lines.
        row_titles: At the left of each row.
        panel_in: Height of a panel in inches; narrow ones are higher.
        scale: What the values of the maps are, if all have the same `limits`: drawn once, below.

    Returns:
        The picture as PNG.
    """
    num_columns = len(rows[0])
    shapes = [panel.frame.shape for row in rows for panel in row]
    aspect = max(width / height for height, width, *_ in shapes)
    panel_in = max(panel_in, _LEAST_IN / aspect)
    scale_in, least_in = _SCALE_IN if scale else (0.0, 0.0)
    width_in = max(panel_in * aspect * num_columns + (0.25 if row_titles else 0.0), least_in)
    room = int(width_in / num_columns / _CHARACTER_IN)
    num_lines = [max(len(panel.title.splitlines()) for panel in row) for row in rows]
    grid_in = sum(panel_in + 0.04 + _LINE_IN * lines for lines in num_lines)
    close = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    figure = Figure((width_in, grid_in + scale_in), dpi=110, layout=close)
    above: Figure | SubFigure = figure
    if scale:
        ratios = (grid_in, scale_in)
        parts = figure.subfigures(2, 1, height_ratios=ratios, hspace=0, squeeze=False)
        above, below = parts.ravel()
        limits = next(panel.limits for row in rows for panel in row if panel.limits)
        draw_scale(below, limits, scale)
    axes_of = above.subplots(len(rows), num_columns, squeeze=False)
    for row, axes_row in zip(rows, axes_of, strict=True):
        for axes in axes_row[len(row) :]:
            axes.set_axis_off()
        for axes, panel in zip(axes_row, row, strict=False):
            title = "\n".join(cut(plain(line), room) for line in panel.title.splitlines())
            draw_panel(axes, replace(panel, title=title), fontsize=8)
    for axes_row, title in zip(axes_of, row_titles, strict=False):
        axes_row[0].set_ylabel(plain(title), fontsize=9, parse_math=False)
    return to_png(figure)


def draw_scale(figure: Figure | SubFigure, limits: tuple[float, float], unit: str) -> None:
    """Draw the colours from low to high, their ends named, above a line of words.

    Args:
        figure: All of it is taken.
        limits: Values at the ends.
        unit: What the values are.
    """
    axes = figure.add_axes((0.36, 0.55, 0.28, 0.3))
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=COLOUR_MAP, aspect="auto")
    axes.set_axis_off()
    low, high = limits
    for x, y, text, side, level in (
        (-0.03, 0.5, f"lowest {low:.2f}", "right", "center"),
        (1.03, 0.5, f"{high:.2f} highest", "left", "center"),
        (0.5, -0.2, unit, "center", "top"),
    ):
        style: dict[str, Any] = {"ha": side, "va": level, "transform": axes.transAxes}
        axes.text(x, y, text, fontsize=8, **style)


def columns_for(count: int, most: int = 6) -> int:
    """Return how many columns show `count` panels in a pleasant grid."""
    return max(1, min(most, round(math.sqrt(count * 1.5))))


def draw_panel(axes: Axes, panel: Panel, fontsize: int = 9) -> None:
    """Draw one panel."""
    height, width = panel.frame.shape[:2]
    picture = (
        panel.frame if panel.heat is None else heat_over(panel.frame, panel.heat, panel.limits)
    )
    axes.imshow(picture, interpolation="bilinear")
    for boxes, style in ((panel.silent, _SILENT), (panel.sounding, _SOUNDING)):
        for x1, y1, x2, y2 in (boxes if boxes is not None else np.zeros((0, 4))).tolist():
            corner, extent = (x1 * width - 0.5, y1 * height - 0.5), (x2 - x1, y2 - y1)
            axes.add_patch(
                Rectangle(
                    corner, extent[0] * width, extent[1] * height, fill=False, linewidth=1.6,
                    path_effects=[withStroke(linewidth=3.2, foreground="black")], **style,
                )
            )  # fmt: skip
    if panel.mask is not None and panel.mask.any():
        _outline(axes, panel.mask, (width, height))
    if panel.title:
        axes.set_title(plain(panel.title), fontsize=fontsize, pad=3, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Axes, mask: NDArray[np.bool_], size_px: tuple[int, int]) -> None:
    """Draw the edge of a mask, whatever its size, over a frame of `size_px` (width, height)."""
    height, width = (side + 2 for side in mask.shape)  # a border, so that edges there close too
    steps = [
        (np.arange(count) - 0.5) * size / (count - 2) - 0.5
        for count, size in zip((width, height), size_px, strict=True)
    ]
    for line_width, colour in ((3.2, "black"), (1.6, "white")):
        axes.contour(
            *steps, np.pad(mask, 1).astype(float), levels=[0.5], colors=colour,
            linewidths=line_width,
        )  # fmt: skip
    axes.set_xlim(-0.5, size_px[0] - 0.5)
    axes.set_ylim(size_px[1] - 0.5, -0.5)


def _colour_bar(figure: Figure | SubFigure, axes: Axes, panel: Panel) -> None:
    if panel.heat is None:
        return
    colours = ScalarMappable(_normalize(panel.heat, panel.limits), COLOUR_MAP)
    bar = figure.colorbar(colours, ax=axes, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(panel.unit, fontsize=8)
    bar.outline.set_visible(False)


def with_few_colours(png: bytes, num_colours: int = 256) -> bytes:
    """Return a PNG as one with a palette, dithered: less than half the size, for pages."""
    content = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    palette = picture.quantize(num_colours)
    picture.quantize(palette=palette).save(content, "PNG", optimize=True)
    return content.getvalue()


def plain(text: str) -> str:
    """Return a text that every font can show."""
    return printable(text, "\n").encode("ascii", "backslashreplace").decode()


def cut(text: str, length: int) -> str:
    """Return a text of at most `length` characters."""
    return text if len(text) <= length else text[: max(1, length - 3)] + "..."


def to_pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as `(H, W, 3)` RGB: what its PNG holds."""
    figure.set_facecolor("white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(np.asarray(rgba)[..., :3])


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG: the bytes of its `savefig`, which draws everything twice."""
    content = io.BytesIO()
    figure.set_facecolor("white")
    FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    return content.getvalue()
