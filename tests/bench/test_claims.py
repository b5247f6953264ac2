"""`bench/claims.py`: paired differences with intervals, and the whole of it at toy size."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from avpipe.train.metrics import auroc
from avpipe.train.recipe import load_recipe
from bench_modules import BENCH, bench_modules
from material_factory import make_material

MODULES = ("claim_arms", "claims_text", "common", "paired")


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, ModuleType]]:
    """The modules of the bench; afterwards other tests do not find them."""
    with bench_modules(*MODULES) as modules:
        yield modules


def write_table(path: Path, rng: np.random.Generator, shift: float) -> Path:
    """Write what `evaluate` leaves of a run: 30 positives, 9 negatives, 2 unheard ones."""
    groups = ["positive"] * 30 + ["swapped"] * 30 + ["offscreen"] * 5 + ["mismatched"] * 4
    groups += ["positive"] * 2
    with path.open("w", newline="") as file:
        names = ["group", "subset", "video", "audio", "confidence", "ciou_adaptive",
                 "right_object"]  # fmt: skip
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for i, group in enumerate(groups):
            better = shift if group in ("positive", "swapped") else 0
            writer.writerow(
                {
                    "group": group,
                    "subset": "unheard" if i >= 69 else "heard",
                    "video": f"v{i}",
                    "audio": f"a{i}",
                    "confidence": round(rng.normal() + better, 1),
                    "ciou_adaptive": min(1, max(0, rng.uniform() + better / 4)),
                    "right_object": float(rng.uniform() < 0.5 + better / 4),
                }
            )
    return path


def tables(tmp_path: Path, shift: float, num_seeds: int = 4) -> list[Path]:
    return [
        write_table(tmp_path / f"{shift}-{seed}.csv", np.random.default_rng(seed), shift)
        for seed in range(num_seeds)
    ]


def rows_of(table: Path, group: str) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return [row for row in csv.DictReader(file)
                if row["group"] == group and row["subset"] == "heard"]  # fmt: skip


def test_scores_are_those_of_the_tables(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    paths = tables(tmp_path, 0.8)
    scored = bench["paired"].read_scored(paths)
    for seed, path in enumerate(paths):
        positive = rows_of(path, "positive")
        located = [float(row["ciou_adaptive"]) >= 0.5 for row in positive]
        assert scored.of_seeds("loc_acc")[seed] == pytest.approx(np.mean(located))
        for score in ("offscreen", "mismatched"):
            peaks = [np.array([float(row["confidence"]) for row in rows])
                     for rows in (positive, rows_of(path, score))]  # fmt: skip
            assert scored.of_seeds(score)[seed] == pytest.approx(auroc(*peaks))


@pytest.mark.parametrize("score", ["right_object", "offscreen"])
def test_an_interval_draws_seeds_and_clips_as_a_loop_does(
    score: str, bench: dict[str, ModuleType], tmp_path: Path
) -> None:
    paired = bench["paired"]
    one, other = (paired.read_scored(tables(tmp_path, shift)) for shift in (0.8, 0.0))
    difference = one.minus(other)
    found = paired.interval(difference, score)
    values = difference.means.get(score)
    if values is None:
        values = difference.wins[score]
    assert found.value == pytest.approx(values.mean())
    rng = np.random.default_rng(7)
    draws = []
    for _ in range(1500):
        part = values
        for axis, size in enumerate(values.shape):
            part = part.take(rng.integers(size, size=size), axis)
        draws.append(part.mean())
    np.testing.assert_allclose(found[1:], np.percentile(draws, (2.5, 97.5)), atol=0.03)
    assert found.low < found.value < found.high


def test_an_arm_does_not_differ_from_itself(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    paired = bench["paired"]
    scored = paired.read_scored(tables(tmp_path, 0.3))
    for score in paired.SCORES:
        same = paired.interval(scored.minus(scored), score)
        assert tuple(same) == (0, 0, 0) and not same.settled


def test_tables_of_other_pairs_are_refused(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    one, other = tables(tmp_path, 0.3, 2)
    other.write_text(other.read_text().replace("v3,", "v33,"))
    with pytest.raises(ValueError, match="different pairs"):
        bench["paired"].read_scored([one, other])


def test_every_arm_is_a_recipe_and_every_pair_is_of_arms(bench: dict[str, ModuleType]) -> None:
    module = bench["claim_arms"]
    more, hinted = module.students([74, 148, 296], 1200)
    assert list(more)[::5] == ["student-none-74", "student-none-148", "student-none-296"]
    arms, claims = {**module.ARMS, **more}, {**module.CLAIMS, "d": hinted}
    for arm in arms.values():
        load_recipe(arm.recipe, arm.changes)
        assert not arm.after or arm.after in arms
    assert set("abcde") == set(claims)
    for claim in claims.values():
        assert set(claim.arms) <= set(arms)
        assert {name for pair in claim.pairs for name in pair} <= set(claim.arms)
    assert {arm for claim in claims.values() for arm in claim.arms} == set(arms)


@pytest.mark.slow
def test_claims_at_toy_size(tmp_path: Path) -> None:
    material = make_material(tmp_path / "material", each=6)
    words = [sys.executable, str(BENCH / "claims.py"), "--weights", "random", "--seeds", "2"]
    for name in ("photos", "sounds", "backgrounds"):
        words += [f"--{name}", str(material / name)]
    words += ["--clips", "12", "--test", "20", "--only", "a,b,e", "--arms", "ez-lse,al-region,spm",
              "--set", "epochs=1", "--out", str(tmp_path / "out")]  # fmt: skip
    subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    document = json.loads((tmp_path / "out/claims.json").read_text())
    assert set(document["arms"]) == {"ez-lse", "al-region", "spm"}
    assert document["arms"]["spm"]["before"][0]["purity"] > 0.25
    assert document["machine"]["versions"]["torch"]
    text = (tmp_path / "out/claims.md").read_text()
    assert "--set temperature=0.03 --set pooling=lse --set epochs=1    # ez-lse, 1 steps" in text
    again = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "avpipe train" not in "".join(
        line for line in again.stdout.splitlines() if line.startswith("$")
    )
