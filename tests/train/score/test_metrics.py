"""Metrics against parity vectors, loops and scikit-learn."""

import itertools
import math

import numpy as np
import pytest
import reference_metrics as loops
from avpipe.train import metrics
from avpipe.train.metrics import Threshold
from avpipe.train.score import detection
from avpipe.train.score.binarize import order_statistic
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

few_values = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, math.nan])
small_maps = arrays(np.float64, (3, 4, 5), elements=few_values)
truths = arrays(np.float64, (3, 4, 5), elements=st.sampled_from([0.0, 0.5, 1.0]))
samples = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
        arrays(np.float64, n, elements=st.sampled_from([0.0, 0.49, 0.5, 1.0])),
        arrays(np.bool_, n),
    )
)


@pytest.fixture
def vector() -> tuple[metrics.Floats, metrics.Floats, metrics.Bools]:
    """Confidence, cIoU and positives of the published vector."""
    i = np.arange(1000)
    return ((7919 * i) % 1009) / 1009, ((104729 * i) % 997) / 997, i % 2 == 1


def test_flickr_vector() -> None:
    truth = metrics.consensus_votes([(10, 20, 110, 120), (60, 70, 200, 220)])
    assert truth.sum() == 11928.5
    predicted = np.zeros((1, 224, 224), bool)
    predicted[0, 50:150, 50:150] = True
    assert metrics.ciou(predicted, truth[None])[0] == pytest.approx(0.4460654112983152, abs=1e-15)


def test_loc_acc_and_auc_vector(vector) -> None:
    _, ciou, positive = vector
    assert metrics.loc_acc(ciou[positive]) == 0.496
    assert metrics.auc(ciou[positive]) == pytest.approx(0.5043, abs=1e-12)


def test_ap_and_f1_vector_at_the_thresholds_of_slavc(vector) -> None:
    found = metrics.slavc_average_precision(*vector)
    assert found == pytest.approx(0.2524251407313618, abs=1e-15)
    assert metrics.slavc_max_f1(*vector) == pytest.approx(0.3974358974358974, abs=1e-15)
    assert metrics.max_f1(*vector) >= 0.3974358974358974
    assert metrics.average_precision(*vector) == pytest.approx(0.2524, abs=0.01)


@pytest.mark.parametrize(("n", "num_thresholds"), [(10316, 203), (1000, 200), (500, 250)])
def test_slavc_takes_every_nth_threshold(n: int, num_thresholds: int, monkeypatch) -> None:
    seen = []
    count = detection.precision_recall

    def spy(confidence, ciou, positive, thresholds, at):
        seen.append(len(thresholds))
        return count(confidence, ciou, positive, thresholds, at)

    monkeypatch.setattr(detection, "precision_recall", spy)
    metrics.slavc_average_precision(np.arange(float(n)), np.ones(n), np.arange(n) % 2 == 0)
    assert seen == [num_thresholds]


@given(
    st.one_of(st.integers(1, 60), st.integers(400, 450)),
    st.sampled_from([2, 7, 10**6]),
    st.integers(0, 99),
)
def test_order_statistics_agree_with_a_sort(n: int, num_values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, num_values, n).astype(np.float32)
    values[rng.random(n) < 0.2] = -np.inf
    ascending = np.sort(values)
    assert [order_statistic(values, rank) for rank in range(n)] == ascending.tolist()


def test_a_sample_that_misleads_costs_time_but_no_exactness() -> None:
    values = np.random.default_rng(0).random(5000)
    values[::33] += 10  # all that the sample sees
    assert order_statistic(values, 2500) == np.sort(values)[2500]


@given(small_maps)
def test_top_quarter_agrees_with_a_sort(maps: metrics.Floats) -> None:
    for found, one in zip(metrics.top_quarter(maps), maps, strict=True):
        plain = sorted((-math.inf if math.isnan(v) else v for v in one.flat), reverse=True)
        assert found == pytest.approx(sum(plain[:5]) / 5, abs=1e-12)


@given(small_maps, st.lists(st.integers(0, 20), min_size=3, max_size=3))
def test_binarize_agrees_with_a_sort(maps: metrics.Floats, areas: list[int]) -> None:
    median = metrics.binarize(maps, Threshold.MEDIAN)
    adaptive = metrics.binarize(maps, Threshold.ADAPTIVE, areas_px=np.array(areas))
    for index, area in enumerate(areas):
        values = maps[index].ravel().tolist()
        assert median[index].ravel().tolist() == loops.top_pixels(values, 10)
        assert adaptive[index].ravel().tolist() == loops.top_pixels(values, area)


def test_median_keeps_the_larger_half_of_an_odd_map() -> None:
    maps = np.arange(9.0).reshape(1, 3, 3)
    assert metrics.binarize(maps, Threshold.MEDIAN).sum() == 5  # sorted[9 // 2] and above


def test_fixed_level_includes_its_value() -> None:
    maps = np.array([[[0.4, 0.5, math.nan, 0.6]]])
    assert metrics.binarize(maps, Threshold.FIXED).tolist() == [[[False, True, False, True]]]


def test_adaptive_needs_areas() -> None:
    with pytest.raises(ValueError, match="areas"):
        metrics.binarize(np.zeros((1, 2, 2)), Threshold.ADAPTIVE)


@given(arrays(np.bool_, (3, 4, 5)), truths)
def test_ciou_agrees_with_a_loop(predicted: metrics.Bools, truth: metrics.Floats) -> None:
    expected = [
        loops.ciou(p.ravel().tolist(), t.ravel().tolist())
        for p, t in zip(predicted, truth, strict=True)
    ]
    assert metrics.ciou(predicted, truth) == pytest.approx(expected, abs=1e-15)


@given(st.lists(st.lists(st.integers(-40, 300), min_size=4, max_size=4), max_size=4))
def test_votes_agree_with_a_loop(boxes_px: list[list[int]]) -> None:
    found = metrics.consensus_votes(boxes_px, size_px=14)
    for y in range(14):
        for x in range(14):
            votes = 0
            for x1, y1, x2, y2 in boxes_px:
                left, top, right, bottom = (
                    int(14 * min(max(corner, 0), 256) / 256) for corner in (x1, y1, x2, y2)
                )
                votes += left <= x < right and top <= y < bottom
            assert found[y, x] == min(1, votes / 2)


boxes = st.lists(st.lists(st.floats(-0.5, 1.5), min_size=4, max_size=4), max_size=3)


@given(st.lists(boxes, max_size=3))
def test_many_unions_are_each_one(many: list[list[list[float]]]) -> None:
    masks = metrics.union_masks(many, 9)
    assert masks.shape == (len(many), 9, 9)
    for mask, own in zip(masks, many, strict=True):
        for y in range(9):
            for x in range(9):
                inside = any(
                    int(min(max(x1, 0), 1) * 9) <= x < int(min(max(x2, 0), 1) * 9)
                    and int(min(max(y1, 0), 1) * 9) <= y < int(min(max(y2, 0), 1) * 9)
                    for x1, y1, x2, y2 in own
                )
                assert mask[y, x] == inside
        assert (metrics.consensus_union(own, 9) == mask).all()


def test_union_of_boxes_clips_what_overflowed() -> None:
    truth = metrics.consensus_union([(-2.88e16, 0.5, 0.5, 1.2), (0.25, 0.25, 0.75, 0.75)], 8)
    assert truth.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
    ]
    assert not metrics.consensus_union([], 8).any()


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1)))
def test_auc_agrees_with_a_loop(cious: metrics.Floats) -> None:
    assert metrics.auc(cious) == pytest.approx(loops.auc(cious.tolist()), abs=1e-12)


@given(samples)
def test_detection_agrees_with_a_loop(given_samples) -> None:
    confidence, ciou, positive = given_samples
    plain = confidence.tolist(), ciou.tolist(), positive.tolist()
    thresholds = np.array([0.0, 0.3, 0.5, 1.0, 2.0])
    counted = np.stack(metrics.detection_counts(*given_samples, thresholds), 1).tolist()
    assert counted == [list(loops.counts(*plain, t, 0.5)) for t in thresholds]
    if positive.any():
        expected = loops.average_precision(*plain), loops.max_f1(*plain)
        found = metrics.average_precision(*given_samples), metrics.max_f1(*given_samples)
        assert found == pytest.approx(expected, abs=1e-12)
        expected = loops.slavc_average_precision(*plain), loops.slavc_max_f1(*plain)
        coarse = metrics.slavc_average_precision, metrics.slavc_max_f1
        assert [f(*given_samples) for f in coarse] == pytest.approx(expected, abs=1e-12)
    else:
        assert math.isnan(metrics.average_precision(*given_samples))
        assert math.isnan(metrics.max_f1(*given_samples))
        assert math.isnan(metrics.slavc_average_precision(*given_samples))
        assert math.isnan(metrics.slavc_max_f1(*given_samples))


def test_a_perfect_detector_scores_one() -> None:
    confidence, ciou = np.array([0.9, 0.8, 0.1]), np.array([0.7, 0.6, 0.0])
    positive = np.array([True, True, False])
    assert metrics.average_precision(confidence, ciou, positive) == 1
    assert metrics.max_f1(confidence, ciou, positive) == 1
    assert metrics.average_precision(-confidence, ciou, positive) < 0.7


@given(
    arrays(np.float64, st.integers(1, 15), elements=st.integers(-3, 3).map(float)),
    arrays(np.float64, st.integers(1, 15), elements=st.integers(-3, 3).map(float)),
)
def test_auroc_agrees_with_scikit_learn(positive: metrics.Floats, negative: metrics.Floats) -> None:
    labels = [1] * len(positive) + [0] * len(negative)
    expected = roc_auc_score(labels, np.concatenate([positive, negative]))
    assert metrics.auroc(positive, negative) == pytest.approx(expected, abs=1e-12)


def test_auroc_takes_a_map_of_nan_for_the_least_confident() -> None:
    maps = np.array([[[0.0]], [[math.nan]]])
    scores = metrics.confidences(maps)
    assert metrics.auroc(scores[:1], scores[1:]) == 1


def test_nothing_gives_nan_without_a_warning() -> None:
    none = np.zeros(0)
    for value in (metrics.loc_acc(none), metrics.auc(none), metrics.auroc(none, np.ones(2))):
        assert math.isnan(value)


def test_mean_in_boxes() -> None:
    maps = np.arange(32.0).reshape(2, 4, 4)
    boxes = np.array([(1, 0, 3, 2), (2, 2, 2, 4)])
    found = metrics.mean_in_boxes(maps, boxes)
    assert found[0] == np.mean([1, 2, 5, 6])
    assert math.isnan(found[1])


@given(
    arrays(np.float64, (4, 6), elements=st.integers(0, 3).map(float)),
    st.lists(st.integers(0, 2), min_size=10, max_size=10),
    st.integers(1, 6),
)
def test_retrieval_agrees_with_a_loop(
    similarity: metrics.Floats, labels: list[int], k: int
) -> None:
    queries, gallery = labels[:4], labels[4:]
    expected = loops.recall_at(similarity.tolist(), queries, gallery, k)
    assert metrics.retrieval_recall(similarity, queries, gallery, k) == expected


def test_retrieval_goes_both_ways_over_clips_and_classes() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.integers(0, 9, (30, 30)).astype(float)
    labels = rng.integers(0, 5, 30).tolist()
    found = metrics.retrieval_scores(similarity, labels)
    assert len(found) == 12
    for name, plain in (("a2i", similarity.tolist()), ("i2a", similarity.T.tolist())):
        for k in (1, 5, 10):
            own = list(range(30))
            assert found[f"{name}_r{k}"] == loops.recall_at(plain, own, own, k)
            assert found[f"{name}_r{k}_class"] == loops.recall_at(plain, labels, labels, k)


def test_retrieval_ranks_nan_last_and_knows_labels_that_nobody_has() -> None:
    similarity = np.array([[math.nan, 0.1, math.nan], [0.5, 0.5, 0.5]])
    assert metrics.first_hits(similarity, ["a", "z"], ["a", "b", "c"]).tolist() == [1, 3]


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.49, 0.5, 1.0]), st.integers(0, 3)), min_size=1)
)
def test_the_worst_of_a_group_agrees_with_a_loop(rows: list[tuple[float, int]]) -> None:
    cious, groups = [row[0] for row in rows], [row[1] for row in rows]
    worst = metrics.group_minima(np.array(cious), groups)
    assert len(worst) == len(set(groups))
    for at in (0.0, 0.5, 0.75):
        assert metrics.loc_acc(worst, at) == loops.worst_of_groups(cious, groups, at)
    rates = [loops.worst_of_groups(cious, groups, 0.05 * i) for i in range(21)]
    area = sum((low + high) / 2 * 0.05 for low, high in itertools.pairwise(rates))
    assert metrics.auc(worst) == pytest.approx(area, abs=1e-12)
