"""Which runs are seeds of one another, and what their group is called."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.record import RunRecord
from avpipe.train.score.over_runs import over_runs

RECORD = RunRecord(load_recipe("ez-vsl"), "ez-vsl", 0, "avcache", "d", 8, ("a", "b"), {})
RELEASED = replace(RECORD, ids=(), imported={"from": "ez-vsl", "sha256": "1"})


def groups_of(records: dict[str, RunRecord]) -> dict[str, tuple[list[str], float | None]]:
    """Return each group's runs, and the mean of scores 0, 1, 2, ... in the runs' order."""
    entries: list[dict[str, Any]] = [
        {
            "run": run,
            "recipe": record.recipe_name,
            "scores": {"av": {"loc_acc": float(i)}},
            "subsets": {},
            "alphas": {},
        }
        for i, (run, record) in enumerate(records.items())
    ]
    found = over_runs(entries, list(records.values()))["groups"]
    return {
        group["name"]: (group["runs"], group["mean"]["scores"]["av"]["loc_acc"]) for group in found
    }


def test_runs_of_other_clips_are_no_seeds() -> None:
    records = {"x/144k": RECORD, "x/flickr": replace(RECORD, ids=("a", "c"))}
    assert groups_of(records) == {"x/144k": (["x/144k"], 0.0), "x/flickr": (["x/flickr"], 1.0)}


@pytest.mark.parametrize(
    "other", [RECORD, replace(RELEASED, imported={"from": "ez-vsl", "sha256": "2"})]
)
def test_released_weights_are_no_seeds(other: RunRecord) -> None:
    found = groups_of({"x/released": RELEASED, "x/other": other})
    assert [runs for runs, _ in found.values()] == [["x/released"], ["x/other"]]


def test_seeds_are_one_group_whatever_the_order_of_their_clips() -> None:
    records = {"a": RECORD, "b": replace(RECORD, seed=1, ids=("b", "a"))}
    assert groups_of(records) == {"ez-vsl": (["a", "b"], np.mean([0, 1]))}


def test_groups_of_one_recipe_are_called_by_their_runs() -> None:
    few, many = RECORD, replace(RECORD, ids=("a", "b", "c"))
    records = {"few-0": few, "many-0": many, "few-1": few, "many-1": many}
    found = {name: runs for name, (runs, _) in groups_of(records).items()}
    assert found == {"few-0": ["few-0", "few-1"], "many-0": ["many-0", "many-1"]}
