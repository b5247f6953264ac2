"""Several runs: mean and deviation over all, and over those that differ by their seed alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..runs.record import RunRecord

RunEntry = dict[str, Any]
_PARTS = ("scores", "subsets", "alphas", "sweeps", "negatives")


def over_runs(entries: Sequence[RunEntry], records: Sequence[RunRecord]) -> dict[str, Any]:
    """Return `mean` and `std` over all runs, and `groups` of those that differ by their seed alone.

    Args:
        entries: The runs' parts of the document.
        records: Their records.

    Returns:
        `mean` and `std` have the shape of a run's `scores`, `subsets`, `alphas` and `sweeps`; a
        group has `name`, `runs`, `mean` and `std`. The deviation is that of a sample, NaN of one
        run.
    """
    learnt = [(record.recipe, set(record.ids), record.imported) for record in records]
    members: dict[int, list[int]] = {}
    for number, own in enumerate(learnt):
        first = next((n for n in members if learnt[n] == own), number)
        members.setdefault(first, []).append(number)
    recipes = Counter(entries[first]["recipe"] for first in members)
    return {
        **_reduced(entries),
        "groups": [
            {
                "name": _name([entries[n] for n in numbers], recipes),
                "runs": [entries[n]["run"] for n in numbers],
                **_reduced([entries[n] for n in numbers]),
            }
            for numbers in members.values()
        ],
    }


def _name(entries: Sequence[RunEntry], recipes: Counter[str]) -> str:
    """Return the run of one, the folder that holds several seeds, or else their recipe.

    Where another group is of a recipe of that name, the first run stands for its group.
    """
    first = entries[0]
    if len(entries) == 1:
        return str(first["run"])
    parents = {str(Path(entry["run"]).parent) for entry in entries}
    if len(parents) == 1 and all(Path(entry["run"]).name.startswith("seed") for entry in entries):
        return parents.pop()
    return str(first["recipe"] if recipes[first["recipe"]] == 1 else first["run"])


def _reduced(entries: Sequence[RunEntry]) -> dict[str, Any]:
    return {"mean": _merged(entries, np.mean), "std": _merged(entries, _sample_std)}


def _merged(entries: Sequence[RunEntry], reduce: Callable[[list[float]], Any]) -> dict[str, Any]:
    """Reduce each score over runs; null where a run has none."""

    def merge(parts: Sequence[Any]) -> Any:
        if any(part is None for part in parts):
            return None
        if isinstance(parts[0], dict):
            return {name: merge([part.get(name) for part in parts]) for name in parts[0]}
        return float(reduce(list(parts)))

    return {
        name: merge([entry[name] for entry in entries]) for name in _PARTS if name in entries[0]
    }


def _sample_std(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
