"""mIoU, F, IIoU, CAP, PIAP, peaks and class maps against loops: ties, empty truths, NaN."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import reference_extras as loops
import reference_metrics
from avpipe.train.benchmarks import Pair
from avpipe.train.extras import groups_of
from avpipe.train.extras.class_maps import ClassMaps, compete
from avpipe.train.extras.groups import Groups
from avpipe.train.extras.peaks import Peaks, above_share, at_levels
from avpipe.train.extras.pixels import CAP_AT, PixelScores, pixel_ap
from avpipe.train.extras.segmentation import (
    Segmentation,
    f_curves,
    f_measure,
    f_thresholds,
    mask_iou,
    predicted_pixels,
)
from avpipe.train.score.protocols import PROTOCOLS
from avpipe.train.score.scoring import measure
from avpipe.train.truths.annotated import AnnotatedItem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

NUM = 4
levels = st.one_of(st.integers(-4, 4).map(lambda quarters: quarters / 4), st.just(math.nan))
maps = arrays(np.float32, (NUM, 4, 4), elements=levels)
truths = arrays(bool, (NUM, 4, 4))
"""Few levels, so many ties; some truths are empty."""
few = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # neither says anything but how busy the machine is


def items(groups: list[str] | None = None, kinds: str = "pppp") -> list[AnnotatedItem]:
    kind = {"p": "positive", "n": "negative"}
    return [
        AnnotatedItem(Pair(f"c{i}", f"c{i}"), kind[kinds[i]], "", group=groups[i] if groups else "")
        for i in range(NUM)
    ]


@few
@given(truths, truths)
def test_mask_iou(predicted, truth) -> None:
    found = mask_iou(predicted, truth)
    for row in range(NUM):
        both = predicted[row].ravel().tolist(), truth[row].ravel().tolist()
        assert found[row] == pytest.approx(loops.mask_iou(*both), abs=1e-12)


def test_thresholds_go_from_0_to_1() -> None:
    """In float32 the last one, 1 - 1e-10, is 1: a pixel of 1 is predicted at all of them."""
    found = f_thresholds()
    assert (len(found), found[0], found[-1]) == (255, 0, 1)
    assert np.diff(found) == pytest.approx(1 / 254, abs=1e-6)


@few
@given(
    arrays(np.float32, (NUM, 3, 3), elements=st.sampled_from([0, 0.1, 0.5, 1, math.nan])), truths
)
def test_f(scores, truth) -> None:
    truth = truth[:, :3, :3]
    curves, expected = f_curves(scores, truth), []
    thresholds = [float(value) for value in f_thresholds()]
    for row in range(NUM):
        if not truth[row].any():
            assert np.isnan(curves[row]).all()
            continue
        both = scores[row].ravel().tolist(), truth[row].ravel().tolist()
        expected.append(loops.f_curve(*both, thresholds))
        assert curves[row] == pytest.approx(expected[-1], abs=1e-9)
    assert f_measure(curves) == pytest.approx(loops.best_of_mean(expected), nan_ok=True)


def test_f_of_batches_depends_on_their_size_and_ours_does_not() -> None:
    """AVSBench's code takes the best threshold of each batch, so larger ones score lower."""
    rng = np.random.default_rng(0)
    truth = rng.random((12, 8, 8)) < 0.4
    similarity = (rng.normal(size=(12, 8, 8)) * rng.uniform(0.2, 2, (12, 1, 1)) + truth).clip(-1, 1)
    clips = [
        AnnotatedItem(Pair(f"v{i}", f"v{i}"), "positive", "", group=f"v{i // 2}") for i in range(12)
    ]
    found = {}
    for size in (1, 2, 6):
        rules = replace(PROTOCOLS["avsbench"], f_batch=size)
        scaled = ((similarity + 1) / 2).astype(np.float32)
        measured = measure(scaled, truth, np.ones(12, int), rules)
        rows = Segmentation().look(scaled, truth, clips, rules)
        found[size] = Segmentation().scores(rows, measured, clips, rules)["f_measure"]
    assert found[1] > found[2] > found[6]
    curves = f_curves(1 / (1 + np.exp(-similarity.astype(np.float32))), truth)
    parts = [f_measure(curves[i : i + 2]) for i in range(0, 12, 2)]
    assert found[1] == pytest.approx(np.mean(parts), abs=1e-6)
    ours = [f_measure(curves[order]) for order in (slice(None), slice(None, None, -1))]
    assert ours[0] == pytest.approx(ours[1]) == pytest.approx(found[6], abs=1e-6)


def test_a_batch_without_a_truth_counts_as_nothing_found() -> None:
    curves = np.stack([np.full(255, 0.8), np.full(255, np.nan)])
    assert f_measure(curves, ["a", "b"]) == pytest.approx(0.4)
    assert f_measure(curves) == pytest.approx(0.8)
    assert math.isnan(f_measure(curves[1:])) and math.isnan(f_measure(curves[:0], []))


@pytest.mark.parametrize("name", ["avpipe", "lvs", "avsbench"])
@few
@given(maps, truths)
def test_predicted_pixels_are_those_of_ciou(name: str, similarity, truth) -> None:
    rules = PROTOCOLS[name]
    measured = measure(similarity, truth, np.ones(NUM, int), rules)
    for row in range(NUM):
        true = truth[row].ravel()
        found = predicted_pixels(similarity[row].ravel(), int(true.sum()), rules)
        by_rule = dict(zip(("median", "adaptive", "fixed"), measured[1:4], strict=True))
        for rule, cious in by_rule.items():
            chosen = found["" if rule == rules.headline else f"_{rule}"]
            both = chosen.tolist(), true.astype(float).tolist()
            assert cious[row] == pytest.approx(reference_metrics.ciou(*both), abs=1e-12)


@few
@given(maps, truths)
def test_segmentation_of_logits_above_zero(similarity, truth) -> None:
    """AVSBench's mIoU predicts where the logistic function exceeds a half."""
    rules, clips = PROTOCOLS["avsbench"], items()
    scaled = (similarity + 1) / 2
    measured = measure(scaled, truth, np.ones(NUM, int), rules)
    rows = Segmentation().look(scaled, truth, clips, rules)
    expected = [
        loops.mask_iou([value > 0 for value in one.ravel()], mask.ravel().tolist())
        for one, mask in zip(similarity, truth, strict=True)
    ]
    scores = Segmentation().scores(rows, measured, clips, rules)
    assert scores["miou"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert {"miou_median", "miou_adaptive", "f_measure"} <= set(scores)


@few
@given(arrays(np.float64, NUM, elements=st.sampled_from([0, 0.3, 0.5, 0.55, 1])))
def test_groups_are_as_good_as_their_worst(ciou) -> None:
    names, rules = ["a", "b", "a", "b"], PROTOCOLS["avpipe"]
    flat = measure(np.zeros((NUM, 2, 2)), np.ones((NUM, 2, 2)), np.ones(NUM, int), rules)
    measured = flat._replace(ciou=ciou, ciou_adaptive=1 - ciou)
    worst = [min(ciou[0], ciou[2]), min(ciou[1], ciou[3])]
    whole = Groups(Counter(names)).scores(np.zeros((NUM, 0)), measured, items(names), rules)
    assert whole["iiou"] == np.mean(np.array(worst) >= 0.5)
    assert whole["iauc"] == pytest.approx(reference_metrics.auc(worst))
    best = 1 - np.maximum(ciou[:2], ciou[2:])
    assert whole["iauc_adaptive"] == pytest.approx(reference_metrics.auc(best.tolist()))


def test_groups_that_are_named_twice_count_twice() -> None:
    """As in a draw with replacement."""
    two = [AnnotatedItem(Pair(f"c{i}", f"c{i}"), "positive", "", group="a") for i in range(2)]
    assert groups_of([*two, *two]) == [("a", 0), ("a", 0), ("a", 1), ("a", 1)]
    rules = PROTOCOLS["avpipe"]
    flat = measure(np.zeros((6, 2, 2)), np.ones((6, 2, 2)), np.ones(6, int), rules)
    measured = flat._replace(ciou=np.array([0.9, 0.2, 0.9, 0.2, 0.9, 0.9]))
    other = [AnnotatedItem(Pair(f"d{i}", f"d{i}"), "positive", "", group="b") for i in range(2)]
    groups = Groups({"a": 2, "b": 2})
    found = groups.scores(np.zeros((6, 0)), measured, [*two, *two, *other], rules)
    assert found["iiou"] == 1 / 3


def test_a_group_that_lacks_a_sound_does_not_count() -> None:
    rules = PROTOCOLS["avpipe"]
    flat = measure(np.zeros((3, 2, 2)), np.ones((3, 2, 2)), np.ones(3, int), rules)
    measured = flat._replace(ciou=np.array([0.2, 0.9, 0.9]))
    three = items(["a", "a", "b", "b"])[:3]
    found = Groups({"a": 2, "b": 2}).scores(np.zeros((3, 0)), measured, three, rules)
    assert found["iiou"] == 0
    found = Groups({"a": 3}).scores(np.zeros((3, 0)), measured, three, rules)
    assert math.isnan(found["iiou"])


@few
@given(maps, truths)
def test_peaks(similarity, truth) -> None:
    chosen = above_share(similarity, 0.1)
    rules, kinds = PROTOCOLS["avpipe"], np.array([1, 1, 0, 1])
    measured = measure(similarity, truth, kinds, rules)
    rows = Peaks().look(similarity, truth, items(), rules)
    cious = []
    for row in range(NUM):
        expected = loops.above_share(similarity[row].astype(float).ravel().tolist(), 0.1)
        assert chosen[row].ravel().tolist() == expected
        cious.append(reference_metrics.ciou(expected, truth[row].astype(float).ravel().tolist()))
    assert rows[:, 0] == pytest.approx(cious)
    own = np.delete(cious, 2)
    scores = Peaks().scores(rows, measured, items(), rules)
    assert scores["peak_30"] == np.mean(own >= 6 * 0.05)
    assert scores["peak_50"] == np.mean(own >= 0.5)
    assert scores["peak_auc"] == pytest.approx(reference_metrics.auc(own.tolist()))


@few
@given(arrays(np.float64, 20, elements=levels), arrays(bool, 20))
def test_average_precision_of_pixels(scores, truth) -> None:
    found = pixel_ap(scores, truth)
    assert found == pytest.approx(loops.pixel_ap(scores.tolist(), truth.tolist()))
    if truth.any() and not np.isnan(scores).any():
        assert found == pytest.approx(average_precision_score(truth, scores))


@pytest.mark.parametrize("name", ["avpipe", "avgn"])
@few
@given(maps, truths)
def test_sources_of_a_duet_are_counted_together(name: str, similarity, truth) -> None:
    """And PIAP, under AVGN's name alone, has its arguments swapped."""
    rules, names = PROTOCOLS[name], ["a", "a", "b", "b"]
    measured = measure(similarity, truth, np.ones(NUM, int), rules)
    clips = items(names)
    rows = PixelScores().look(similarity, truth, clips, rules)
    scores = PixelScores().scores(rows, measured, clips, rules)
    hits, either, aps = [], [], []
    for row in range(NUM):
        values = np.nan_to_num(similarity[row].ravel(), nan=-np.inf)
        last = np.sort(values)[len(values) // 2]
        chosen = (values >= last) & ~np.isnan(similarity[row].ravel())
        true = truth[row].ravel()
        hits.append((chosen & true).sum())
        either.append((chosen | true).sum())
        order = (true, chosen) if name == "avgn" else (similarity[row].ravel(), true)
        aps.append(loops.pixel_ap(order[0].astype(float).tolist(), order[1].tolist()))
    cious = [
        (hits[i] + hits[i + 1]) / (either[i] + either[i + 1]) if either[i] + either[i + 1] else 0
        for i in (0, 2)
    ]
    assert scores["joint_30"] == np.mean(np.array(cious) >= 0.3)
    assert scores["joint_auc"] == pytest.approx(reference_metrics.auc(cious))
    assert scores["piap"] == pytest.approx(np.mean(aps))
    if name == "avpipe":
        sure = [(measured.confidence[i] + measured.confidence[i + 1]) / 2 for i in (0, 2)]
        expected = reference_metrics.average_precision(sure, cious, [True, True], 0.3)
        assert scores["cap"] == pytest.approx(expected)


def test_the_03_of_each_laboratory() -> None:
    """0.3 itself reaches AVGN's 0.3, and not DSOL's 6 * 0.05."""
    assert at_levels("x", np.array([0.3]))["x_30"] == 0
    assert at_levels("x", np.array([0.3]), CAP_AT)["x_30"] == 1


@few
@given(maps)
def test_maps_of_classes_compete(similarity) -> None:
    shares = compete(similarity)
    for y, x in itertools.product(range(4), range(4)):
        expected = loops.softmax(similarity[:, y, x].astype(float).tolist())
        assert shares[:, y, x] == pytest.approx(expected)


@few
@given(maps, truths)
def test_a_duet_is_the_mean_of_its_classes(similarity, truth) -> None:
    """Two pictures with two classes each; of the second one class is silent."""
    names, kinds, rules = ["a", "a", "b", "b"], "pppn", PROTOCOLS["avpipe"]
    clips = items(names, kinds)
    measured = measure(similarity, truth, np.array([1, 1, 1, 0]), rules)
    rows = ClassMaps().look(similarity, truth, clips, rules)
    scores = ClassMaps().scores(rows, measured, clips, rules)
    shares = np.concatenate([compete(similarity[:2]), compete(similarity[2:])])
    cious = [
        reference_metrics.ciou(
            loops.above_share(shares[i].ravel().tolist(), 0.2),
            truth[i].astype(float).ravel().tolist(),
        )
        for i in range(3)
    ]
    pictures = [(cious[0] + cious[1]) / 2, cious[2]]
    assert scores["duet_30"] == np.mean(np.array(pictures) >= 6 * 0.05)
    assert scores["duet_auc"] == pytest.approx(reference_metrics.auc(pictures))
    assert scores["nsa"] == pytest.approx(np.mean(shares[3] <= 0.2))
