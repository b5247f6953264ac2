"""Choices and defaults that the trainer and the commands share; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

DataMode = Literal["auto", "resident", "stream"]
"""Clips held in memory, read as needed, or what fits."""
Branch = Literal["online", "momentum", "ema"]
"""Which weights of a run."""
Head = Literal["localization", "correspondence"]
"""Which of SLAVC's projections."""
Geometry = Literal["rf-centred", "cell-centred", "corners"]
"""Where the cells of a map lie."""
BlendScales = Literal["minmax", "slavc"]
"""How maps are scaled before they are blended."""

DEFAULT_GEOMETRY: Geometry = "rf-centred"
DEFAULT_SCALES: BlendScales = "minmax"
DEFAULT_BENCHMARK = "synth"
DEFAULT_PROTOCOL = "avpipe"
DEFAULT_RECIPE = "compact"
MAPS_AT_A_TIME = 64
"""Clips of a batch where nothing is learnt."""
