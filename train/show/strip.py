"""A film on paper: pictures from all over it, in a row, above the spectrogram of its sound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .drawing import COSINE, Panel, draw_panel, draw_scale, to_png

_WIDTH_IN, _LEFT_IN, _RIGHT_IN, _GAP_IN = 9.6, 0.42, 0.06, 0.04
_TITLE_IN, _SOUND_IN, _AXIS_IN, _SCALE_IN = 0.2, 1.05, 0.36, 0.42
_PANEL_IN = 1.45
"""Height of a picture, before their number is rounded and they fill the width."""
_DB_PER_NEPER = 10 / math.log(10)
_DYNAMICS_DB = 70.0
_DARK_DB = 20.0
"""The colours span at least so much: silence stays dark."""
_DOTS_PER_IN = 100


def num_panels(height: int, width: int) -> int:
    """Return how many pictures of that size stand in a row; at least three."""
    return max(3, round((_WIDTH_IN - _LEFT_IN - _RIGHT_IN) / (_PANEL_IN * width / height)))


def film_strip(
    panels: Sequence[Panel], log_power: NDArray[np.floating], top_khz: float, duration_s: float
) -> bytes:
    """Draw a film: each picture stands above its share of the time.

    Args:
        panels: Pictures of one size, with maps and the same `limits`; of equal parts of the film.
        log_power: `(bins, n)` natural logarithm of the power of its sound, from its start to its
            end.
        top_khz: The highest frequency.
        duration_s: Length of the film.

    Returns:
        The picture as PNG, some 960 pixels wide.
    """
    height, width = panels[0].frame.shape[:2]
    inner_in = _WIDTH_IN - _LEFT_IN - _RIGHT_IN
    panel_in = (inner_in - _GAP_IN * (len(panels) - 1)) / len(panels) * height / width
    heights = (_TITLE_IN + panel_in + _GAP_IN, _SOUND_IN, _AXIS_IN, _SCALE_IN)
    figure = Figure((_WIDTH_IN, sum(heights)), dpi=_DOTS_PER_IN)
    ratios = (sum(heights[:3]), _SCALE_IN)
    above, below = figure.subfigures(2, 1, height_ratios=ratios, hspace=0, squeeze=False).ravel()
    left, inner, tall_in = _LEFT_IN / _WIDTH_IN, inner_in / _WIDTH_IN, sum(heights[:3])
    step = (inner_in + _GAP_IN) / len(panels) / _WIDTH_IN
    for number, panel in enumerate(panels):
        place = (
            left + number * step, (_AXIS_IN + _SOUND_IN + _GAP_IN) / tall_in,
            step - _GAP_IN / _WIDTH_IN, panel_in / tall_in,
        )  # fmt: skip
        draw_panel(above.add_axes(place), panel, fontsize=8)
    sound = above.add_axes((left, _AXIS_IN / tall_in, inner, _SOUND_IN / tall_in))
    _draw_sound(sound, log_power, top_khz, duration_s)
    draw_scale(below, panels[0].limits or (0.0, 1.0), COSINE)
    return to_png(figure)


def _draw_sound(
    axes: Axes, log_power: NDArray[np.floating], top_khz: float, duration_s: float
) -> None:
    decibels = log_power * _DB_PER_NEPER
    least = float(decibels.min())
    peak = max(float(decibels.max()), least + _DARK_DB)
    axes.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", interpolation="nearest",
        extent=(0, duration_s, 0, top_khz), vmin=max(peak - _DYNAMICS_DB, least), vmax=peak,
    )  # fmt: skip
    axes.set_ylabel("kHz", fontsize=8, labelpad=1)
    axes.set_xlabel("seconds", fontsize=8, labelpad=0)
    axes.tick_params(labelsize=7, length=2.5, pad=2)
