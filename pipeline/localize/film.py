"""A clip as a film: the map of what is heard, laid over its pictures, with its sound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...stages.film.heat import Heat
from ...stages.film.run import RenderChild
from ...train.choices import DEFAULT_GEOMETRY
from ...train.nets.geometry import Geometry
from ...train.runs.localizer import Localizer
from ...train.score.maps import whole
from ...train.show.drawing import heat_table, legend
from ..extract.folders import make_films_folder
from ..watch import watch
from . import EVERY_S
from .strip import KeptMoments, write_strip

_CELLS = 32  # a side of the maps that are kept: more than networks give, 2 kB a map
_DARK_PERCENT = 10
"""So much of all maps is shown as the lowest colour: a few low cells would light up the rest."""
_CUT_S = 0.05


def write_video(
    localizer: Localizer,
    child: RenderChild,
    clip_id: str,
    line: Mapping[str, Any],
    path: Path,
    *,
    every_s: float = EVERY_S,
    geometry: Geometry = DEFAULT_GEOMETRY,
    strip: Path | None = None,
) -> str:
    """Write a clip's film, with a bar for listening and one for drawing.

    Args:
        localizer: A run.
        child: Decodes and draws.
        clip_id: Names the bars.
        line: As for `DecoderChild.row`.
        path: The MP4; it is complete whenever it exists.
        every_s: Time between two maps; between them maps are interpolated.
        geometry: Where a map's cells lie.
        strip: A PNG to write when the film is there: pictures of it above its sound.

    Returns:
        What people should know of the film; "" if nothing.

    Raises:
        ClipError: The clip cannot be used; timeout, oom and crashed included.
        CacheUnwritableError: The film or its strip cannot be written.
    """
    kept = KeptMoments()
    heat = _heard(localizer, child, clip_id, line, every_s, geometry, kept)
    make_films_folder(path.parent)
    with whole(path) as draft, watch(f"{clip_id} drawn", "frames") as update:
        for drawn in child.draw(line, heat, str(draft)):
            update(drawn.num_pictures, drawn.num_expected)
    if strip is not None:
        write_strip(path, heat, kept, strip)
    if drawn.end_s < drawn.said_s - _CUT_S:
        return f"{clip_id}: cut, it ends at {drawn.end_s:.1f} of {drawn.said_s:.1f} s"
    return ""


def _heard(
    localizer: Localizer,
    child: RenderChild,
    clip_id: str,
    line: Mapping[str, Any],
    every_s: float,
    geometry: Geometry,
    kept: KeptMoments,
) -> Heat:
    """Find the maps of a clip, and the colours for all of them; keep some of its pictures."""
    window_s = localizer.window_s
    times_s: list[float] = []
    maps: list[NDArray[np.float16]] = []
    with watch(f"{clip_id} heard", "windows") as update:
        for moment in child.moments(line, every_s, window_s):
            update(len(maps), moment.num_moments)
            found = localizer.localize(
                moment.frame,
                moment.waveform,
                moment.rate_hz,
                size=(_CELLS, _CELLS),
                geometry=geometry,
            )
            kept.add(len(maps), moment.time_s, moment.frame)
            times_s.append(moment.time_s)
            maps.append(found.astype(np.float16))
    stacked = np.stack(maps)
    limits = float(np.percentile(stacked, _DARK_PERCENT)), float(stacked.max())
    return Heat(
        np.array(times_s, np.float32),
        stacked,
        limits,
        *heat_table(),
        legend(limits, *moment.drawn_hw),
    )
