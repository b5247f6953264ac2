"""One threshold for all maps of a run: derived from negatives, or what a paper's code states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..metrics import Floats

HEADLINE = "q3"


class Level(NamedTuple):
    """A threshold; pixels above it are predicted.

    Attributes:
        name: What results call it.
        cosine: Its value, as a cosine.
        rule: How it came about.
    """

    name: str
    cosine: float
    rule: str


STATED: dict[str, dict[str, float]] = {
    "ez-vsl": {"max": 0.6041, "max10": 0.6645, "maxq3": 0.6382},
    "slavc": {"max": 0.5201, "max10": 0.5721, "maxq3": 0.5450},
    "fnac": {"max": 0.5311, "max10": 0.5842, "maxq3": 0.5538},
    "lvs": {"max": 0.5527, "max10": 0.6080, "maxq3": 0.6077},
    "ssl-tie": {"max": 0.2641, "max10": 0.2906, "maxq3": 0.3338},
    "ssl-alignment": {"max": 0.2660, "max10": 0.2926, "maxq3": 0.3175},
}
"""By network, as `eval.py` of vssl_eval (Juanola et al., ICASSP 2025) has them; it does not say how
they were found. `max10` is 1.1 times `max`."""
_UNIT = ("ez-vsl", "slavc", "fnac")
"""Those that speak of (cosine + 1) / 2."""


def derived(peaks: Floats) -> list[Level]:
    """Return the thresholds that negatives give.

    Args:
        peaks: `(n,)` highest cosine of each negative's map.
    """
    return [
        Level(HEADLINE, float(np.quantile(peaks, 0.75)), "third quartile of the negatives' peaks"),
        Level("max", float(np.max(peaks)), "highest of the negatives' peaks"),
    ]


def stated(protocol: str) -> list[Level]:
    """Return the thresholds that vssl_eval has for the network of a protocol, if any."""
    return [
        Level(
            f"vssl-eval {name}",
            2 * value - 1 if protocol in _UNIT else value,
            f"{value:.4f}, which vssl_eval's code states for {protocol}",
        )
        for name, value in STATED.get(protocol, {}).items()
    ]
