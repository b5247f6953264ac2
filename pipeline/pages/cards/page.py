"""Cards of clips as a page: the same parts as the picture's, each as wide as a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ....cache.schema import Header
from ....cache.store import CachedClip
from ....stages.wav import wav_bytes
from ....train.show.drawing import heat_over, to_png
from .. import html
from ..media import SMALL_QUALITY, jpeg_bytes
from .gather import Card, Neighbor
from .parts import draw_spectrogram, hint_scale, spectrogram_title, spread_cells
from .picture import facts, seen_by

_SPECTROGRAM_IN = (4.4, 2.0)
_PICTURE_PX = 340
_HEARD_S = 3.0


def page_of_cards(cards: Sequence[Card], shown: Mapping[str, Header], notes: Sequence[str]) -> str:
    """Return a page of clips that can be looked at and listened to.

    Args:
        cards: The clips.
        shown: The stages they are made from, by kind, as `gather.shown_stages` chooses them.
        notes: Lines at the top.
    """
    named = f"{len(cards)} clips" if len(cards) > 1 else cards[0].clip.id
    parts = [html.paragraph(note, "warn") for note in notes]
    parts += [_card(card, shown) for card in cards]
    return html.page(named, "\n".join(parts))


def _card(card: Card, shown: Mapping[str, Header]) -> str:
    clip = card.clip
    title = f"frame at {clip.frame_pts_s:.2f} s"
    pictures = [html.picture(jpeg_bytes(clip.frame, SMALL_QUALITY), title, title, _PICTURE_PX)]
    if "hint" in shown:
        pictures.append(_hint(card, shown["hint"]))
    pictures.append(html.block("", [_spectrogram(card), _sound(clip)]))
    if "tags" in shown:
        pictures.append(_tags(card, shown["tags"]))
    strips = [_strip(card, kind, shown[kind]) for kind in ("image", "audio") if kind in shown]
    return "\n".join(
        [
            html.heading(clip.id),
            html.paragraph(facts(card), "soft"),
            html.block("cards", pictures),
            *strips,
        ]
    )


def _hint(card: Card, header: Header) -> str:
    teacher = header.stage.partition("/")[2]
    if card.hint is None:
        return html.paragraph(f"no hint of {teacher}", "soft")
    heat = spread_cells(card.hint, *card.clip.frame.shape[:2])
    over = (heat_over(card.clip.frame, heat) * 255).round().astype(np.uint8)
    title = f"hint of {teacher}, {hint_scale(card.hint)}"
    return html.picture(jpeg_bytes(over, SMALL_QUALITY), title, title, _PICTURE_PX)


def _spectrogram(card: Card) -> str:
    def draw(axes: Axes) -> None:
        draw_spectrogram(axes, card)
        axes.set_title("")

    title = spectrogram_title(card.front_end)
    return html.picture(drawn(draw, _SPECTROGRAM_IN), title, title, 420)


def drawn(draw: Callable[[Axes], object], size_in: tuple[float, float]) -> bytes:
    """Return what a function draws into axes as a PNG, sharp on a phone too."""
    figure = Figure(size_in, dpi=160, layout="constrained")
    draw(figure.subplots())
    return to_png(figure)


def _sound(clip: CachedClip) -> str:
    """Let the seconds be heard that the networks hear."""
    if clip.waveform is None or clip.frame_sample is None:
        return html.paragraph("no sound to hear: audio was dropped", "soft")
    half = round(_HEARD_S / 2 * clip.waveform_rate_hz)
    start = min(max(0, clip.frame_sample - half), max(0, len(clip.waveform) - 2 * half))
    heard = clip.waveform[start : start + 2 * half]
    return html.player(wav_bytes(heard, clip.waveform_rate_hz), f"sound of {clip.id}", "audio")


def _tags(card: Card, header: Header) -> str:
    teacher = header.stage.partition("/")[2]
    if not card.tags:
        return html.paragraph(f"no tags of {teacher}", "soft")
    rows = [(name, f"{score:.3f}") for _, name, score in card.tags]
    return html.table((f"tag of {teacher}", "score, 0 to 1"), rows, " r")


def _strip(card: Card, kind: str, header: Header) -> str:
    found = card.neighbors.get(kind, ())
    title = html.heading(seen_by(kind, header), 3)
    if not found:
        return title + html.paragraph("not in the set of ids that was searched", "soft")
    return title + html.block("strip", [_neighbor(one, card.clip.label) for one in found])


def _neighbor(one: Neighbor, label: str | None) -> str:
    same = label is not None and one.label == label
    caption = f"{one.similarity:.3f} {one.name}"
    return html.picture(
        jpeg_bytes(one.frame, SMALL_QUALITY), one.id, caption, style="same" if same else ""
    )
