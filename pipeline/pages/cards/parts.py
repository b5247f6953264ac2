"""The parts of a clip's card, each drawn into axes of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ....cache.schema import Header
from ....stages.spectrogram import SEGMENT, FrontEnd
from ....train.show.drawing import Panel, cut, draw_panel, plain
from .gather import Card, Neighbor

GREY = "0.4"
SAME = "#1b7837"
TITLE_SIZE = 8.0
SMALL = 7.5
"""Sizes of text, points."""
CHARACTER_IN = 0.06
"""Width of a small character, on average."""
_DB_PER_NEPER = 10 / math.log(10)
_DYNAMICS_DB = 70.0
_LEAST_DB = 20.0
"""The colours span at least so much: silence stays dark."""


def draw_spectrogram(axes: Axes, card: Card) -> None:
    """Draw the wide spectrogram: seconds from the start of the window that networks hear, kHz.

    Of mel bands the axis has their numbers.
    """
    front_end, clip = card.front_end, card.clip
    scale = 1.0 if front_end.mel else _DB_PER_NEPER
    decibels, floor_db = clip.spectrogram_wide * scale, front_end.silence * scale
    low, high = clip.valid_cols
    heard = decibels[:, low:high]
    peak = max(float(heard.max(initial=floor_db)), floor_db + _LEAST_DB)
    column = np.arange(decibels.shape[1])
    is_margin = (column < low) | (column >= high)
    picture = np.ma.array(decibels, mask=np.broadcast_to(is_margin, decibels.shape))
    hop_s = front_end.hop / front_end.rate_hz
    first = 0 if front_end.mel else SEGMENT / 2  # the middle of the first segment, in samples
    starts_s = first / front_end.rate_hz - (front_end.margin + 0.5) * hop_s
    ends_s = starts_s + decibels.shape[1] * hop_s
    top = front_end.num_bins - 1 if front_end.mel else front_end.rate_hz / 2000
    half_bin = top / (front_end.num_bins - 1) / 2
    axes.set_facecolor("0.9")
    image = axes.imshow(
        picture, origin="lower", aspect="auto", cmap="magma", interpolation="nearest",
        extent=(starts_s, ends_s, -half_bin, top + half_bin),
        vmin=max(peak - _DYNAMICS_DB, floor_db), vmax=peak,
    )  # fmt: skip
    if front_end.margin:
        for edge in (0, front_end.window_s):
            axes.axvline(edge, color="white", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel("seconds", fontsize=SMALL, labelpad=1)
    axes.set_ylabel("band" if front_end.mel else "kHz", fontsize=SMALL, labelpad=2)
    axes.tick_params(labelsize=7, length=2.5, pad=2)
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.015, 0, 0.018, 1)))
    bar.locator = MaxNLocator(5, integer=True)
    bar.ax.tick_params(labelsize=6, length=2, pad=1)
    bar.ax.set_title("dB", fontsize=6.5, pad=3)
    bar.outline.set_visible(False)
    if clip.silent:
        axes.text(
            0.5, 0.5, "silence", ha="center", va="center", fontsize=SMALL, color="0.8",
            transform=axes.transAxes,
        )  # fmt: skip
    axes.set_title(spectrogram_title(front_end), fontsize=TITLE_SIZE, pad=3)


def spectrogram_title(front_end: FrontEnd) -> str:
    """Say of what kind a spectrogram is, and what its dashed lines are."""
    window = f"; dashed: the {front_end.window_s:g} s heard"
    return f"spectrogram {front_end.name}{window if front_end.margin else ''}"


def draw_hint(axes: Axes, card: Card, header: Header) -> None:
    """Lay the length of a visual hint's vectors over the frame."""
    teacher = header.stage.partition("/")[2]
    if card.hint is None:
        say(axes, f"no hint of {teacher}")
        return
    height, width = card.clip.frame.shape[:2]
    heat = spread_cells(card.hint, height, width)
    draw_panel(axes, Panel(f"hint of {teacher}", card.clip.frame, heat), fontsize=8)
    axes.set_xlabel(hint_scale(card.hint).replace(": ", ":\n"), fontsize=SMALL, labelpad=2)


def hint_scale(lengths: NDArray[np.floating[Any]]) -> str:
    """Say what the colours over a hint are."""
    low, high = (
        np.format_float_positional(value, 3, fractional=False, trim="-")
        for value in (lengths.min(), lengths.max())
    )
    return f"length of its vectors: {low} dark, {high} bright"


def spread_cells(cells: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.float64]:
    """Bring a network's map to a frame's size, `(h, w)` -> `(height, width)`, bilinearly.

    Padded stride convolutions centre cell i on pixel stride * i, not in the i-th of equal tiles.
    """
    across = np.arange(width) / width * cells.shape[1]
    down = np.arange(height) / height * cells.shape[0]
    rows = np.stack([np.interp(across, np.arange(cells.shape[1]), row) for row in cells])
    return np.stack([np.interp(down, np.arange(cells.shape[0]), column) for column in rows.T], 1)


def draw_tags(axes: Axes, card: Card, header: Header) -> None:
    """Draw what an audio teacher hears as bars, names and scores in them."""
    teacher = header.stage.partition("/")[2]
    if not card.tags:
        say(axes, f"no tags of {teacher}")
        return
    places = np.arange(len(card.tags))[::-1]
    axes.barh(places, [score for _, _, score in card.tags], height=0.72, color="#9ecae1")
    for place, (_, name, score) in zip(places, card.tags, strict=True):
        style: dict[str, Any] = {"va": "center", "fontsize": TITLE_SIZE, "parse_math": False}
        axes.text(0.012, place, cut(plain(name), 36), **style)
        axes.text(0.988, place, f"{score:.3f}", ha="right", **style)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(card.tags) - 0.4)
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1])
    axes.tick_params(labelsize=7, length=2.5, pad=2)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(f"tags of {teacher}: score from 0 to 1", fontsize=TITLE_SIZE, pad=3)


def draw_neighbor(axes: Axes, one: Neighbor, label: str | None, width: float) -> None:
    """Draw another clip's frame in `width` inches; framed if it is labelled `label` too."""
    draw_panel(axes, Panel("", one.frame))
    called = cut(plain(one.name), int(width / CHARACTER_IN) - 7)
    same = label is not None and one.label == label
    axes.set_title(
        f"{one.similarity:.3f}  {called}", fontsize=SMALL, pad=3, parse_math=False,
        color=SAME if same else "black",
    )  # fmt: skip
    if same:
        for spine in axes.spines.values():
            spine.set(visible=True, color=SAME, linewidth=2)


def say(axes: Axes, text: str) -> None:
    """Write instead of a picture that a clip does not have."""
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=SMALL, color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("0.85")
