"""Sounds of other clips on tests with true boxes: who gets whose, and scores against loops."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from avpipe.train.benchmarks import Pair, load_benchmark
from avpipe.train.metrics import Maps
from avpipe.train.score.protocols import PROTOCOLS
from avpipe.train.truths.annotated import AnnotatedItem
from avpipe.train.truths.exchanged import compare, exchange, exchanges, inside
from evaluation_factory import write_flickr, write_vggss

SIZE = 224
NAMES = [f"clip{number:03d}" for number in range(11)]
RULES = PROTOCOLS["avpipe"]


@pytest.mark.parametrize(
    "labels",
    [
        "aabbccd",
        "aaab",
        "aaabbbc",
        "abcdefg",
        "aaaa",
        "aaaaabc",
        "ab",
        ["", "", ""],
        ["", "a", "a"],
    ],
)
@pytest.mark.parametrize("seed", range(6))
def test_nobody_keeps_its_sound_and_few_its_class(labels: Sequence[str], seed: int) -> None:
    given = exchange(labels, seed)
    assert sorted(given) == list(range(len(labels)))
    assert all(sound != own for own, sound in enumerate(given))
    alike = sum(labels[own] == labels[sound] != "" for own, sound in enumerate(given))
    largest = max(Counter(one for one in labels if one).values(), default=0)
    assert alike == max(0, 2 * largest - len(labels))  # no way has fewer


def test_the_seed_decides_and_few_clips_are_exchanged_more_often() -> None:
    labels = list("aabbccddee")
    assert exchange(labels, 3) == exchange(labels, 3) != exchange(labels, 4)
    rounds = {}
    for num in (0, 1, 2, 28, 250, 400, 1000, 5158):
        items = [AnnotatedItem(Pair(f"{i}", f"{i}"), "positive", "") for i in range(num)]
        rounds[num] = len(exchanges(items))
    assert rounds == {0: 0, 1: 0, 2: 4, 28: 4, 250: 4, 400: 3, 1000: 1, 5158: 1}


def maps_of(pairs: Sequence[Pair]) -> Maps:
    """Maps that know the frame a little and the sound a little, the same whenever asked."""
    made = []
    for video, audio in pairs:
        rng = np.random.default_rng([int(video[-3:]), int(audio[-3:])])
        corner = rng.integers(0, 150, 2)
        one = 0.1 * rng.random((SIZE, SIZE), np.float32)
        one[corner[0] : corner[0] + 70, corner[1] : corner[1] + 70] += rng.random()
        made.append(one)
    return np.stack(made)


def test_scores_with_other_sounds_are_those_of_a_loop(tmp_path: Path) -> None:
    folder = write_vggss(tmp_path, NAMES, negatives=6)
    boxes = {one["file"]: one["bbox"][0] for one in json.loads((folder / "vggss.json").read_text())}
    test = load_benchmark("vggss-extended", folder)
    found = test.controls(maps_of, RULES)
    positives = [item for item in test.items if item.kind == "positive"]
    rounds = exchanges(positives)
    assert {pair for pairs in rounds for pair in pairs} <= set(test.pairs())
    own, others, hits, cious = [], [], [], []
    for at, name in enumerate(NAMES):
        x1, y1, x2, y2 = (int(SIZE * side) for side in boxes[name])  # cut, as the peers do
        for pair in [Pair(name, name), *(pairs[at] for pairs in rounds)]:
            assert pair.video == name
            (one,) = maps_of([pair])
            level = one[y1:y2, x1:x2].astype(np.float64).mean()
            if pair.audio == name:
                own.append(level)
                continue
            others.append((at, level))
            truth = np.zeros((SIZE, SIZE), bool)
            truth[y1:y2, x1:x2] = True
            chosen = one >= np.sort(one.ravel())[-truth.sum()]
            cious.append((truth & chosen).sum() / (truth | chosen).sum())
            hits.append(cious[-1] >= 0.5)
    assert len(others) == 4 * len(NAMES)
    above = [(own[at] > level) + (own[at] == level) / 2 for at, level in others]
    ranked = [(one > level) + (one == level) / 2 for one in own for _, level in others]
    assert found["own_sound"]["all"] == pytest.approx(
        {"above_other": np.mean(above), "auroc": np.mean(ranked)}
    )
    assert 0.1 < np.mean(above) < 0.9
    shuffled = found["av_shuffled"]["all"]
    assert shuffled["ciou_mean_adaptive"] == pytest.approx(np.mean(cious))
    assert shuffled["loc_acc_adaptive"] == pytest.approx(np.mean(hits))
    assert np.isnan(shuffled["ap"])
    assert set(found["own_sound"]) == {"all", "small", "medium", "large", "huge"}


def test_a_listener_is_told_from_a_center_prior(tmp_path: Path) -> None:
    """One lights up where its own source sounds, the other hears nothing."""
    folder = write_vggss(tmp_path, NAMES)
    test = load_benchmark("vggss", folder)

    def listens(pairs: Sequence[Pair]) -> Maps:
        return np.stack([np.full((SIZE, SIZE), float(video == audio)) for video, audio in pairs])

    def centre(pairs: Sequence[Pair]) -> Maps:
        one = np.hypot(*np.mgrid[-112:112, -112:112])
        return np.stack([-one for _ in pairs])

    assert test.controls(listens, RULES)["own_sound"]["all"] == {"above_other": 1, "auroc": 1}
    deaf = test.controls(centre, RULES)
    assert deaf["own_sound"]["all"] == {"above_other": 0.5, "auroc": 0.5}
    own = test.score(centre, RULES).scores["all"]
    for name in ("loc_acc", "ciou_mean", "loc_acc_adaptive", "ciou_mean_adaptive"):
        assert deaf["av_shuffled"]["all"][name] == pytest.approx(own[name])


def test_votes_weigh_and_truths_without_area_are_left_out(tmp_path: Path) -> None:
    one = np.arange(16.0).reshape(1, 4, 4)
    votes = np.zeros((1, 4, 4))
    votes[0, 0, 1], votes[0, 2, 2] = 0.5, 1
    assert inside(one, votes)[0] == pytest.approx((0.5 * 1 + 10) / 1.5)
    assert np.isnan(inside(one, 0 * votes)[0])
    assert inside(one * np.nan, votes)[0] == -np.inf  # a map of NaN is below all others
    compared = compare(np.array([1, np.nan, 3.0]), np.array([[0, np.nan, 4], [1, np.nan, 2.0]]))
    assert compared == {"above_other": 2.5 / 4, "auroc": (1 + 0.5 + 0 + 0 + 3) / 8}
    assert np.isnan(compare(np.array([np.nan]), np.array([[np.nan]]))["auroc"])
    boxes = [[[10, 10, 100, 100]], [[20, 20, 110, 110]]]
    write_flickr(tmp_path / "flickr", {"1": boxes, "2": boxes, "3": boxes})
    flickr = load_benchmark("flickr", tmp_path / "flickr")
    assert flickr.controls(lambda pairs: np.zeros((len(pairs), SIZE, SIZE)), RULES)["own_sound"][
        "all"
    ] == {"above_other": 0.5, "auroc": 0.5}


def test_one_clip_has_no_other_sound(tmp_path: Path) -> None:
    test = load_benchmark("vggss", write_vggss(tmp_path, NAMES[:1]))
    assert test.controls(maps_of, RULES) == {} and len(test.pairs()) == 1
