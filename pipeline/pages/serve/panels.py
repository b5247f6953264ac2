"""What the page of `avpipe serve` shows of a result, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex

from ....train.score.controls import Floats32, blend
from ....train.show.drawing import COLOUR_MAP, heat_over
from ..html import text
from ..media import data_uri, jpeg_bytes
from .answers import Answer
from .nearest import NearClip, Nearest

_STOPS = 9
_UNIT = (0.0, 1.0)

EMPTY = (
    '<div class="av-empty">Three heat maps will be here: where the sound comes from, '
    "what stands out by sight alone, and a blend of the two.</div>"
)


def problem(line: str) -> str:
    """Return an error as the page shows it."""
    return f'<p class="av-problem" role="alert">{text(line)}.</p>'


def panels(found: Answer, alpha: float) -> str:
    """Return the frame, the audio-visual map, the object map and their blend.

    Args:
        found: The maps.
        alpha: Share of the audio-visual map in the blend.
    """
    mixed = blend(found.av_map, found.object_map, alpha)
    parts = [
        _figure("frame", "Picture", found, None, "What the network sees."),
        _figure(
            "av", "Audio-visual map", found, found.av_map,
            "Where the sound comes from; a scale that ends low: nothing here makes it.",
            unit="cosine of place and sound",
        ),
        _figure(
            "objects", found.object_title[:1].upper() + found.object_title[1:], found,
            found.object_map, "What stands out by sight alone; it hears nothing.",
            unit=found.object_unit,
        ),
        _figure(
            "blend", "Blend", found, mixed,
            f"{alpha:.2f} x audio-visual + {1 - alpha:.2f} x object, each from 0 to 1.",
            unit="share", limits=_UNIT,
        ),
    ]  # fmt: skip
    notes = "".join(f'<p class="av-notice">{text(line)}</p>' for line in found.notices)
    decoding, network = (f"{seconds:.2f} s" for seconds in found.seconds)
    told = f"Decoded in {decoding}, localized in {network}. Alpha only mixes the maps again."
    return f'{notes}<div class="av-panels">{"".join(parts)}</div><p class="av-soft">{told}</p>'


def neighbors(found: Answer, nearest: Nearest | None) -> str:
    """Return the clips of the cache that sound, and those that look, most alike."""
    if nearest is None:
        return ""
    compared, cached = len(nearest.rows), len(nearest.cache)
    told = f"By this run's own embeddings, among {compared:,} clips of {nearest.cache.path.name}"
    if compared < cached:
        told += f", taken evenly from its {cached:,}"
    return (
        f'<div class="av-near"><p class="av-soft">{text(told)}.</p>'
        f"{_strip('Clips that sound most like it', found.sounds, players=True)}"
        f"{_strip('Clips that look most like it', found.frames, players=False)}</div>"
    )


def _figure(
    name: str,
    title: str,
    found: Answer,
    heat: Floats32 | None,
    told: str,
    *,
    unit: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """Return a picture with its caption; over it a map with its scale, if there is one."""
    pixels, scale = found.frame, ""
    if heat is not None:
        limits = limits or (float(heat.min()), float(heat.max()))
        pixels = np.rint(heat_over(found.frame, heat, limits) * 255).astype(np.uint8)
        scale = _scale(limits, unit)
    height, width = pixels.shape[:2]
    source = data_uri("image/jpeg", jpeg_bytes(pixels))
    return (
        f'<figure data-panel="{name}"><h3>{text(title)}</h3>'
        f'<img width="{width}" height="{height}" alt="{text(f"{title}: {told}")}" src="{source}">'
        f"{scale}<figcaption>{text(told)}</figcaption></figure>"
    )


def _scale(limits: tuple[float, float], unit: str) -> str:
    """Return the colours from low to high, with the values at their ends."""
    low, high = (f"{value:.2f}" for value in limits)
    colours = mpl.colormaps[COLOUR_MAP](np.linspace(0, 1, _STOPS))
    stops = ", ".join(to_hex(colour) for colour in colours)
    return (
        f'<div class="av-scale"><span>{low}</span>'
        f'<i style="background: linear-gradient(to right, {stops})"></i><span>{high}</span></div>'
        f'<div class="av-unit">{text(unit)}</div>'
    )


def _strip(title: str, clips: Sequence[NearClip], *, players: bool) -> str:
    cards = []
    for clip in clips:
        sound = ""
        if players and clip.wav is not None:
            sound = (
                f'<audio controls preload="none" src="{data_uri("audio/wav", clip.wav)}"></audio>'
            )
        label = f"<b>{text(clip.label)}</b><br>" if clip.label else ""
        cards.append(
            f'<figure><img alt="{text(clip.id)}" src="{data_uri("image/jpeg", clip.jpeg)}">{sound}'
            f"<figcaption>{label}{text(clip.id)}<br>cosine {clip.similarity:.2f}</figcaption>"
            "</figure>"
        )
    return f'<h3>{title}</h3><div class="av-strip">{"".join(cards)}</div>'
