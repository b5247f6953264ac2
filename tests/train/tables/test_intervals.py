"""The bootstrap over clips, against loops that draw clips one by one."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.train.benchmarks import Pair, Resampled
from avpipe.train.benchmarks.synth import load as load_world
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.score.evaluate import evaluate
from avpipe.train.score.protocols import PROTOCOLS
from avpipe.train.score.scoring import Measured
from avpipe.train.score.table import evaluate_text
from avpipe.train.tables.intervals import difference, draws_of, interval, intervals, resampled
from avpipe.train.truths.annotated import Annotated, AnnotatedItem, AnnotatedScores
from avpipe.train.truths.recalled import RetrievalScores
from cache_factory import make_cache
from evaluation_factory import TINY, write_vggss, write_world
from hypothesis import given, settings
from hypothesis import strategies as st

VALUES = st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.8, 1.0])


def scored(rows: list[tuple[str, bool, float, float]]) -> AnnotatedScores:
    """A test of clips: (clip, whether it has a source, cIoU, confidence)."""
    items = tuple(
        AnnotatedItem(Pair(clip, f"{clip}{i}"), "positive" if positive else "negative", "")
        for i, (clip, positive, _, _) in enumerate(rows)
    )
    test = Annotated(items, {clip: np.array([[0, 0, 1, 1.0]]) for clip, *_ in rows})
    values = np.array([row[2] for row in rows], np.float64)
    measured = Measured(
        np.array([row[3] for row in rows], np.float64), values, values, values, values,
        np.array([int(row[1]) for row in rows]),
    )  # fmt: skip
    return AnnotatedScores(test, measured, PROTOCOLS["avpipe"])


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), VALUES, VALUES), min_size=1, max_size=6
)


@settings(max_examples=40)
@given(ROWS)
def test_draws_are_those_of_a_loop(rows: list[tuple[str, bool, float, float]]) -> None:
    found = draws_of(scored(rows), 5)
    clips = list(dict.fromkeys(row[0] for row in rows))
    rng = np.random.default_rng(0)
    for draw in range(5):
        drawn = [clips[i] for i in rng.integers(len(clips), size=len(clips)).tolist()]
        own = [row for clip in drawn for row in rows if row[0] == clip]
        cious = [row[2] for row in own if row[1]]
        share = sum(value >= 0.5 for value in cious) / len(cious) if cious else math.nan
        assert found["loc_acc"][draw] == pytest.approx(share, nan_ok=True)
        if cious:
            rates = [sum(c >= 0.05 * i for c in cious) / len(cious) for i in range(21)]
            area = sum((low + high) / 2 * 0.05 for low, high in itertools.pairwise(rates))
            assert found["auc"][draw] == pytest.approx(area)


def test_a_clip_is_drawn_with_all_its_pairs() -> None:
    clips = ["a", "b", "a", "c"]
    for rows in resampled(clips, 20):
        counts = [rows.tolist().count(i) for i in range(4)]
        assert counts[0] == counts[2] and counts[0] + counts[1] + counts[3] == 3


def test_intervals_by_hand() -> None:
    values = np.linspace(0, 1, 201)
    assert interval(values) == [pytest.approx(0.025), pytest.approx(0.975)]
    assert interval(np.array([np.nan, 0.5, np.nan])) == [0.5, 0.5]
    assert interval(np.full(3, np.nan)) is None
    assert intervals({"a": np.full(3, np.nan)}) == {"a": None}


def test_a_bootstrap_of_shares_is_about_the_normal_one() -> None:
    """400 clips of which 30 % are found: +- 1.96 sqrt(.3 * .7 / 400)."""
    rows = [(f"c{i}", True, float(i % 10 < 3), 0.0) for i in range(400)]
    low, high = intervals(draws_of(scored(rows), 800))["loc_acc"]
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.01)


def test_two_runs_are_compared_on_the_same_draws() -> None:
    """Clips of unequal difficulty: each alone is uncertain, their difference is not."""
    easy = [(f"c{i}", True, float(i % 2), 0.0) for i in range(60)]
    better = [(clip, positive, min(1.0, value + 0.1), sure) for clip, positive, value, sure in easy]
    draws = [draws_of(scored(rows), 200) for rows in (better, easy)]
    scores: Any = [scored(rows).headline()[1] for rows in (better, easy)]
    found = difference(["x", "y"], scores, draws)["scores"]
    assert found["ciou_mean"]["difference"] == pytest.approx(0.05)
    assert 0.03 < found["ciou_mean"]["low"] < 0.05 < found["ciou_mean"]["high"] < 0.07
    low, high = intervals(draws[0])["ciou_mean"]
    assert high - low > 0.15
    nothing = {"difference": None, "low": None, "high": None}
    scores[0]["auc"] = None
    assert difference(["x", "y"], scores, draws)["scores"]["auc"] == nothing


def test_a_worlds_scores_are_drawn_again(tmp_path: Path) -> None:
    test = load_world(write_world(tmp_path))
    rng = np.random.default_rng(0)
    maps = {pair: rng.random((224, 224)) for pair in test.pairs()}
    found = test.score(lambda pairs: np.stack([maps[pair] for pair in pairs]))
    assert isinstance(found, Resampled)
    everything = np.arange(len(test.items))
    assert found.drawn(everything) == pytest.approx(found.headline()[1], nan_ok=True)
    twice = np.concatenate([everything, everything])
    assert found.drawn(twice) == pytest.approx(found.headline()[1], nan_ok=True)


def test_clips_drawn_for_retrieval_are_searched_for_among_all() -> None:
    """Among the drawn alone, which are fewer, a sound would be found sooner."""
    rng = np.random.default_rng(0)
    similarity, labels = rng.random((12, 12)), {f"c{i}": f"class{i % 3}" for i in range(12)}
    scored = RetrievalScores(labels, similarity)
    assert isinstance(scored, Resampled)
    assert scored.drawn(np.arange(12)) == scored.headline()[1]
    rows = np.array([3, 3, 7, 0])
    found = scored.drawn(rows)
    for way, both in (("a2i", similarity), ("i2a", similarity.T)):
        for k in (1, 5, 10):
            own = [sum(value > both[row, row] for value in both[row]) < k for row in rows]
            assert found[f"{way}_r{k}"] == sum(own) / 4
            alike = [max(both[row, row % 3 :: 3]) for row in rows]
            own = [
                sum(v > best for v in both[row]) < k for row, best in zip(rows, alike, strict=True)
            ]
            assert found[f"{way}_r{k}_class"] == sum(own) / 4


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 24)


@pytest.fixture(scope="module")
def runs(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    recipe = load_recipe("compact", [*TINY, "epochs=1"])
    for seed in (0, 1):
        train(cache, recipe, folder / f"s{seed}", seed=seed, ids=cache.ids[:8], device="cpu")
    return [folder / "s0", folder / "s1"]


def test_evaluate(
    cache: Cache, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))
    boxes = write_vggss(tmp_path, list(cache.ids[8:]))
    document = evaluate(runs, cache, annotations=boxes, benchmark="vggss", bootstrap=50,
                        device="cpu")  # fmt: skip
    for entry in document["runs"]:
        low, high = entry["intervals"]["ciou_mean"]
        assert low <= entry["scores"]["av"]["ciou_mean"] <= high and entry["bootstrap"] == 50
        assert entry["intervals"]["ap"] is None  # no negatives
    own = document["difference"]
    assert own["runs"] == [str(run) for run in runs]
    assert own["scores"]["ciou_mean"]["low"] <= own["scores"]["ciou_mean"]["difference"]
    text = evaluate_text(document)
    assert "s0: 95 % intervals over clips, 50 draws: LocAcc " in text
    assert "s0 less s1, 95 % of the draws of clips, both on the same: LocAcc " in text
    alone = evaluate(runs[:1], cache, annotations=boxes, benchmark="vggss", bootstrap=50)
    assert alone["runs"][0]["intervals"] == document["runs"][0]["intervals"]
    assert "difference" not in alone
    document = evaluate(runs, cache, annotations=boxes, benchmark="retrieval", bootstrap=40)
    for entry in document["runs"]:
        low, high = entry["intervals"]["a2i_r5"]
        assert low <= entry["scores"]["av"]["a2i_r5"] <= high
    assert document["difference"]["scores"]["i2a_r1"]["low"] is not None
    assert "A2I R@1 " in evaluate_text(document)
