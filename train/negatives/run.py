"""`evaluate --negatives`: what a run's maps do where nothing in the picture sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np

from ...cache.store import Cache
from ..benchmarks import MapSource, Pair, Sources, WithSources
from ..metrics import Floats
from ..score.maps import StoredMaps
from ..score.protocols import Protocol
from .asked import OFFSCREEN, OWN, Asked
from .levels import HEADLINE, derived, stated
from .made import MADE, Made
from .measured import Heard, mixture, score_levels
from .strangers import strangers

MOST_CLIPS = 256
"""That thresholds are derived from: a quartile of so many strays by little."""
FEWEST_CLIPS = 8
NUM_DRAWS = 10
"""Of whose sound is borrowed, as vssl_eval's code has ten seeds (Juanola et al., ICASSP 2025)."""

MapsOf = Callable[[str, Sequence[Pair], Made | None], tuple[StoredMaps, MapSource]]
"""Gives a run's maps of pairs, by a name to store them under; with a made sound, if given."""


class Calibration(NamedTuple):
    """What thresholds were derived from.

    Attributes:
        peaks: `(n,)` highest cosine of each map.
        num_clips: Clips whose frames they are of.
        where: Which clips.
        kinds: Which sounds.
    """

    peaks: Floats
    num_clips: int
    where: str
    kinds: tuple[str, ...]


def score_negatives(
    asked: Asked,
    test: WithSources,
    cache: Cache,
    test_ids: AbstractSet[str],
    protocol: Protocol,
    source: MapSource,
    maps_of: MapsOf,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score a run where nothing in the picture sounds.

    Thresholds are derived from negatives of clips outside the test where the cache has at least
    eight, else from the test's own negatives; never from sounds of what is in the picture.

    Args:
        asked: Which negatives.
        test: What the cache has of the benchmark.
        cache: The clips.
        test_ids: All clips of the benchmark.
        protocol: How maps are filled in.
        source: The run's maps of the test.
        maps_of: Gives its maps of other pairs.

    Returns:
        Figures by threshold (`measured.score_levels`), and how they came about.

    Raises:
        InputError: A picture shows all classes there are.
    """
    sources = test.sources()
    heard, stored = _negatives(asked, sources, maps_of, "", NUM_DRAWS)
    if OWN in asked.kinds:
        heard[OWN] = [Heard(sources.own, source)]
    calibration = _outside(asked, cache, test_ids, maps_of)
    if calibration is None:
        if not stored:
            stored = _negatives(_made(asked), sources, maps_of, "")[1]
        calibration = Calibration(
            _peaks(stored), len(sources.pairs), "the test's own negatives", tuple(stored)
        )
    levels, peers = derived(calibration.peaks), stated(protocol.name)
    positives = Heard(sources.pairs, source)
    found = score_levels(positives, sources.truths, heard, [*levels, *peers], protocol)
    if peers:
        found["vssl-eval mixture"] = mixture(positives, sources.truths, peers, protocol)
    told = {
        "kinds": list(heard),
        "seed": asked.seed,
        "draws": {kind: len(draws) for kind, draws in heard.items()},
        "headline": HEADLINE,
        "rules": {level.name: level.rule for level in [*levels, *peers]},
        "calibration": {
            "clips": calibration.num_clips,
            "maps": len(calibration.peaks),
            "from": calibration.where,
            "kinds": list(calibration.kinds),
        },
        "classes_known": all(sources.classes),
    }
    return found, told


def _made(asked: Asked) -> Asked:
    """Return what is made whatever the clips are."""
    return Asked(tuple(MADE), asked.seed)


def _negatives(
    asked: Asked, sources: Sources, maps_of: MapsOf, name: str, num_draws: int = 1
) -> tuple[dict[str, list[Heard]], dict[str, StoredMaps]]:
    """Return maps of the pictures with each kind of made or borrowed sound, of each draw."""
    heard, stored = {}, {}
    for kind in asked.kinds:
        if kind in MADE:
            made = next(Made(own, asked.seed) for own in MADE if own == kind)
            draws = [list(sources.pairs)]
            maps = maps_of(f"{name}{kind}", sources.pairs, made)
        elif kind == OFFSCREEN:
            draws = [
                strangers(sources.pairs, sources.classes, sources.sounds, asked.seed, draw)
                for draw in range(num_draws)
            ]
            every = dict.fromkeys(pair for pairs in draws for pair in pairs)
            maps = maps_of(f"{name}{kind}", list(every), None)
        else:
            continue
        stored[kind] = maps[0]
        heard[kind] = [Heard(pairs, maps[1]) for pairs in draws]
    return heard, stored


def _outside(
    asked: Asked, cache: Cache, test_ids: AbstractSet[str], maps_of: MapsOf
) -> Calibration | None:
    """Return the peaks of negatives of clips that are not tested; None where there are too few."""
    labels = {
        name: cache.manifest.line(row).get("label") or ""
        for name, row in zip(cache.ids, cache.rows.tolist(), strict=True)
        if name not in test_ids
    }
    names = sorted(labels)
    if len(names) < FEWEST_CLIPS:
        return None
    if len(names) > MOST_CLIPS:
        chosen = np.random.default_rng(asked.seed).choice(len(names), MOST_CLIPS, replace=False)
        names = [names[i] for i in sorted(chosen.tolist())]
    shown = [frozenset([labels[name]] if labels[name] else []) for name in names]
    if all(shown) and len(set().union(*shown)) < 2:
        shown = [frozenset() for _ in names]  # of one class alone any other clip will do
    pairs = [Pair(name, name) for name in names]
    sounds = {name: frozenset([labels[name]] if labels[name] else []) for name in names}
    sources = Sources(pairs, shown, sounds, lambda part: np.zeros((0, 1, 1)), [])
    kinds = tuple(kind for kind in asked.kinds if kind != OWN) or MADE
    _, stored = _negatives(Asked(kinds, asked.seed), sources, maps_of, "calibration-")
    return Calibration(_peaks(stored), len(names), "clips outside the test", kinds)


def _peaks(stored: dict[str, StoredMaps]) -> Floats:
    """Return the highest cell of each map that is not NaN."""
    tops = [np.nanmax(maps.maps.reshape(len(maps.maps), -1), axis=1) for maps in stored.values()]
    return np.concatenate(tops).astype(np.float64)
