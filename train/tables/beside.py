"""What stands beside a run's scores: leaks, copies, intervals, sounds of nothing in the picture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..benchmarks import MapSource, Pair, Resampled, Scored, Scores, WithSources
from ..negatives.made import Made
from ..negatives.run import score_negatives
from ..notices import tell
from ..runs.record import RunRecord
from ..score import map_sources
from ..score.binarize import Threshold
from ..score.maps import StoredMaps
from ..score.shared import Evaluation
from .copies import copies_entry
from .intervals import difference, draws_of, intervals

StoredOf = Callable[[str, Sequence[Pair], Made | None], StoredMaps]
"""Gives a run's maps by the name they are stored under, of pairs, with a made sound if given."""


def negatives_of(source: MapSource, shared: Evaluation, stored: StoredOf) -> dict[str, Any]:
    """Return the scores of sounds of nothing in the picture; nothing if none were asked for.

    Args:
        source: The run's maps of the test.
        shared: The evaluation.
        stored: Gives the run's maps of pairs.
    """
    if not shared.negatives.kinds:
        return {}

    def maps_of(
        name: str, pairs: Sequence[Pair], made: Made | None
    ) -> tuple[StoredMaps, MapSource]:
        found = stored(f"{shared.stem}-{name}", pairs, made)
        return found, map_sources.of_run(found, shared.protocol, shared.geometry)

    test = shared.at_hand
    assert isinstance(test, WithSources)  # it was checked
    figures, told = score_negatives(
        shared.negatives, test, shared.cache, shared.test_ids, shared.protocol, source, maps_of
    )
    return {"negatives": figures, "negatives_from": told}


def intervals_of(folder: Path, av: Scored, shared: Evaluation) -> dict[str, Any]:
    """Return the 95 % intervals of the headline's scores; nothing if none were asked for."""
    if not shared.bootstrap:
        return {}
    if not isinstance(av, Resampled):
        raise UsageError(f"--bootstrap: {shared.name} cannot be scored again on drawn clips")
    found = shared.draws[str(folder)] = draws_of(av, shared.bootstrap)
    known = reached(av.headline()[1], shared)
    own = {name: None if is_nan(known[name]) else ends for name, ends in intervals(found).items()}
    return {"bootstrap": shared.bootstrap, "intervals": own}


def differences_of(entries: Sequence[dict[str, Any]], shared: Evaluation) -> dict[str, Any]:
    """Return the interval of the difference of two runs, where there are two and draws of both."""
    if not shared.bootstrap or len(entries) != 2:
        return {}
    names = [entry["run"] for entry in entries]
    scores = [entry["scores"]["av"] for entry in entries]
    return {"difference": difference(names, scores, [shared.draws[name] for name in names])}


def reached(scores: Scores, shared: Evaluation) -> Scores:
    """Take out zeros that say nothing: half of the picture cannot reach a cIoU of 0.5 there.

    What other rules predict can, so their scores stay.
    """
    if shared.at_hand.ceiling != 0:
        return scores
    suffix = "" if shared.protocol.headline is Threshold.MEDIAN else f"_{Threshold.MEDIAN}"
    capped = re.compile(rf"(swapped_)?(loc_acc|ap|max_f1){suffix}(_\d+)?")
    return {
        name: math.nan if value == 0 and capped.fullmatch(name) else value
        for name, value in scores.items()
    }


def leaks_of(
    record: RunRecord, shared: Evaluation, scored: dict[str, Scored | None]
) -> dict[str, Any]:
    """Return the test clips that a run was trained on, and the scores without them.

    Null where a run came without the list of its training, or began with weights that did.
    """
    if record.trained_on is None:
        return {"leaked": None, "leak_free": None}
    leaked = sorted(record.trained_on.intersection(shared.full.clip_ids))
    if not leaked:
        return {"leaked": leaked, "leak_free": None}
    return {"leaked": leaked, "leak_free": _without(set(leaked), shared, scored)}


def copies_of(
    record: RunRecord, shared: Evaluation, scored: dict[str, Scored | None]
) -> dict[str, Any]:
    """Return the test clips that were trained on under other names, and the scores without them.

    Those that were trained on under their own are left out with them. Nothing if nobody looks.
    """
    if shared.find_copies is None:
        return {}
    if record.trained_on is None:
        return {"copies": None, "copy_free": None}
    found = shared.find_copies(record.trained_on, shared.at_hand.clip_ids)
    for line in found.notices:
        tell(line)
    without = {pair["test"] for pair in found.pairs}.union(record.trained_on)
    return {"copies": copies_entry(found), "copy_free": _without(without, shared, scored)}


def _without(ids: set[str], shared: Evaluation, scored: dict[str, Scored | None]) -> dict[str, Any]:
    """Return how many clips count without some, and the scores of every source."""
    clean = {name: one and one.headline(ids) for name, one in scored.items()}
    assert clean["av"]
    return {
        "n_scored": clean["av"][0],
        "scores": {name: found and reached(found[1], shared) for name, found in clean.items()},
    }


def is_nan(value: object) -> bool:
    """Whether a value is a number that is none."""
    return isinstance(value, float) and math.isnan(value)
