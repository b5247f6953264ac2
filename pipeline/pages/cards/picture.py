"""Pictures of clips, drawn with matplotlib: one card above the other, everything placed in inches.

A card has two rows: frame, spectrogram and the nearest by sight; hint, tags and the nearest by
sound. What no clip has takes no place.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ....cache.schema import Header
from ....train.show.drawing import Panel, draw_panel, plain
from .gather import Card
from .parts import (
    CHARACTER_IN,
    GREY,
    SAME,
    SMALL,
    draw_hint,
    draw_neighbor,
    draw_spectrogram,
    draw_tags,
    say,
)

_SQUARE = 1.75
"""Side of a square frame; wide ones are lower."""
_TITLE = 0.22
_UNDER = 0.42
"""Below a row: the spectrogram's axis."""
_HEAD = 0.48
_MARGIN = 0.2
_LEFT_OF_SPECTROGRAM = 0.55
_SPECTROGRAM = 3.3
_COLOUR_BAR = 0.36
_LEFT_OF_STRIP = 0.52
_GAP = 0.08
_LINE = 0.2


@dataclass(frozen=True)
class _Layout:
    """Which parts there are and how wide they are, inches; the same for all cards of a picture."""

    has_hint: bool
    has_tags: bool
    strips: tuple[str, ...]
    num_neighbors: int
    row: float
    frame_width: float

    @property
    def num_rows(self) -> int:
        return 2 if self.has_hint or self.has_tags or len(self.strips) == 2 else 1

    @property
    def spectrogram_x(self) -> float:
        return _MARGIN + self.frame_width + _LEFT_OF_SPECTROGRAM

    @property
    def strip_x(self) -> float:
        return self.spectrogram_x + _SPECTROGRAM + _COLOUR_BAR + _LEFT_OF_STRIP

    @property
    def width(self) -> float:
        if not self.strips:
            return self.strip_x - _LEFT_OF_STRIP + _MARGIN
        return self.strip_x + self.num_neighbors * (self.frame_width + _GAP) - _GAP + _MARGIN

    @property
    def step(self) -> float:
        """From one row to the next."""
        return _TITLE + self.row + _UNDER

    @property
    def whole(self) -> float:
        """Height of a part that stands beside all rows."""
        return self.row + self.step * (self.num_rows - 1)

    @property
    def card_height(self) -> float:
        return _HEAD + self.step * self.num_rows


class _Page:
    """A figure that is filled from the top, in inches."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (width, height)
        self.figure = Figure(self.size, dpi=110)

    def axes(self, x: float, top: float, width: float, height: float) -> Axes:
        """Place axes by their upper left corner."""
        across, down = self.size
        place = (x / across, 1 - (top + height) / down, width / across, height / down)
        return self.figure.add_axes(place)

    def text(self, x: float, top: float, text: str, size: float, **style: Any) -> None:
        """Write a line by its upper left corner."""
        across, down = self.size
        self.figure.text(
            x / across, 1 - top / down, text, fontsize=size, va="top", parse_math=False, **style
        )

    def rule(self, top: float) -> None:
        """Draw a thin line from side to side."""
        across, down = self.size
        edge, y = _MARGIN / across, 1 - top / down
        self.figure.add_artist(Line2D([edge, 1 - edge], [y, y], color="0.85", linewidth=0.8))


def draw_cards(cards: Sequence[Card], shown: Mapping[str, Header], notes: Sequence[str]) -> Figure:
    """Draw clips.

    Args:
        cards: The clips.
        shown: The stages they are made from, by kind, as `gather.shown_stages` chooses them.
        notes: Lines below all cards.

    Returns:
        The figure; `train.show.drawing.to_png` makes a file of it.
    """
    layout = _layout(cards, shown)
    letters = int((layout.width - 2 * _MARGIN) / CHARACTER_IN)
    lines = [line for note in notes for line in textwrap.wrap(plain(note), letters)]
    height = layout.card_height * len(cards) + _LINE * len(lines) + _MARGIN
    page = _Page(layout.width, height)
    for number, card in enumerate(cards):
        top = _MARGIN / 2 + number * layout.card_height
        if number:
            page.rule(top)
        _draw_card(page, layout, card, shown, top)
    for number, line in enumerate(lines):
        above_end = _LINE * (len(lines) - number) + _MARGIN / 4
        page.text(_MARGIN, height - above_end, line, SMALL, color=GREY)
    return page.figure


def _layout(cards: Sequence[Card], shown: Mapping[str, Header]) -> _Layout:
    strips = [found for card in cards for found in card.neighbors.values()]
    frames = [card.clip.frame for card in cards] + [one.frame for found in strips for one in found]
    aspect = float(np.median([frame.shape[1] / frame.shape[0] for frame in frames]))
    aspect = min(max(aspect, 0.75), 16 / 9)
    row = _SQUARE / max(1, aspect) ** 0.4
    return _Layout(
        has_hint="hint" in shown,
        has_tags="tags" in shown,
        strips=tuple(kind for kind in ("image", "audio") if kind in shown),
        num_neighbors=max(1, *map(len, strips), 1),
        row=row,
        frame_width=row * aspect,
    )


def _draw_card(
    page: _Page, layout: _Layout, card: Card, shown: Mapping[str, Header], top: float
) -> None:
    clip = card.clip
    page.text(_MARGIN, top + 0.06, plain(clip.id), 11, weight="bold")
    page.text(_MARGIN, top + 0.27, facts(card), 8.5, color=GREY)
    if clip.label and any(card.neighbors.values()):
        legend = "green: labelled as this clip"
        page.text(layout.width - _MARGIN, top + 0.27, legend, SMALL, color=SAME, ha="right")
    rows = [top + _HEAD + _TITLE + number * layout.step for number in range(layout.num_rows)]
    one, whole = layout.row, layout.whole
    frame = page.axes(_MARGIN, rows[0], layout.frame_width, one if layout.has_hint else whole)
    frame.set_anchor("N")
    draw_panel(frame, Panel(f"frame at {clip.frame_pts_s:.2f} s", clip.frame), fontsize=8)
    sound = page.axes(
        layout.spectrogram_x, rows[0], _SPECTROGRAM, one if layout.has_tags else whole
    )
    draw_spectrogram(sound, card)
    if layout.has_hint:
        below = page.axes(_MARGIN, rows[1], layout.frame_width, layout.row)
        draw_hint(below, card, shown["hint"])
    if layout.has_tags:
        below = page.axes(layout.spectrogram_x, rows[1], _SPECTROGRAM, one)
        draw_tags(below, card, shown["tags"])
    for kind, row in zip(layout.strips, rows, strict=False):
        _draw_strip(page, layout, card, kind, shown[kind], row)


def facts(card: Card) -> str:
    """Say in a line what is known of a clip beside its pictures."""
    clip = card.clip
    facts = [plain(clip.label)] if clip.label else []
    facts += [f"row {clip.row}", f"{clip.duration_s:.1f} s"]
    facts += [f"cluster {card.cluster}"] if card.cluster is not None else []
    facts += [_silence(card)] if clip.silent else []
    facts += ["short: its sound is repeated to 3 s"] if clip.short else []
    return "  \N{MIDDLE DOT}  ".join(facts)


def _silence(card: Card) -> str:
    """Say that a clip is silent, and what of its card means nothing therefore."""
    hollow = ["tags"] if card.tags else []
    hollow += ["neighbours by sound"] if card.neighbors.get("audio") else []
    return f"silent: its {' and '.join(hollow)} mean nothing" if hollow else "silent"


def seen_by(kind: str, header: Header) -> str:
    """Say how neighbours were found: by which sense, by which network."""
    encoder = header.stage.partition("-")[2].partition("@")[0]
    sense = {"image": "nearest by sight", "audio": "nearest by sound"}[kind]
    return f"{sense}, cosine of {encoder}"


def _draw_strip(
    page: _Page, layout: _Layout, card: Card, kind: str, header: Header, top: float
) -> None:
    """Draw the nearest clips by sight or by sound."""
    found = card.neighbors.get(kind, ())
    for number in range(max(1, len(found))):
        x = layout.strip_x + number * (layout.frame_width + _GAP)
        axes = page.axes(x, top, layout.frame_width, layout.row)
        if number == 0:
            title = plain(seen_by(kind, header)).replace(", ", "\n")
            axes.set_ylabel(title, fontsize=SMALL, labelpad=4)
        if not found:
            say(axes, "not in the set of ids\nthat was searched")
            return
        draw_neighbor(axes, found[number], card.clip.label, layout.frame_width)
