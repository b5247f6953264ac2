"""Scores of many pairs: loops, and what is known of the real boxes of VGG-SS."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import reference_metrics as loops
from avpipe.train import metrics
from avpipe.train.score.controls import center_prior
from avpipe.train.score.protocols import PROTOCOLS
from avpipe.train.score.scoring import Measured, curves, measure, measure_all, size_of, summary
from avpipe.train.truths.boxes import union_masks
from hypothesis import given
from hypothesis import strategies as st

VGGSS = Path(__file__).parents[4] / "shared/metadata/vggss.json"
AVPIPE, SLAVC = PROTOCOLS["avpipe"], PROTOCOLS["slavc"]
levels = st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0])
rows = st.lists(st.tuples(levels, levels, levels, levels, st.integers(0, 2), st.booleans()))


def measured(columns: list[tuple[float, ...]]) -> Measured:
    table = np.array(columns, float).reshape(-1, 6).T
    confidence, ciou, adaptive, fixed, num_boxes, _ = table
    return Measured(confidence, ciou, adaptive, fixed, num_boxes * 100, num_boxes.astype(int))


@pytest.mark.parametrize("name", ["avpipe", "slavc"])
@given(rows)
def test_summary_agrees_with_loops(name: str, given_rows: list[tuple[float, ...]]) -> None:
    keep = np.array([row[5] for row in given_rows], bool)
    found = summary(measured(given_rows), keep, PROTOCOLS[name])
    kept = [row for row in given_rows if row[5]]
    positive = [row[4] > 0 for row in kept]
    precision, best = (
        (loops.average_precision, loops.max_f1)
        if name == "avpipe"
        else (loops.slavc_average_precision, loops.slavc_max_f1)
    )
    for column, suffix in ((1, ""), (2, "_adaptive"), (3, "_fixed")):
        both = [row[0] for row in kept], [row[column] for row in kept], positive
        own = [row[column] for row in kept if row[4] > 0]
        extended = own and (name == "slavc" or not all(positive))
        expected = {
            f"ciou_mean{suffix}": sum(own) / len(own) if own else math.nan,
            f"auc{suffix}": loops.auc(own) if own else math.nan,
        }
        for at, level in ((0.5, ""), (0.75, "_75")):
            hits = [c >= at for c in own]
            expected[f"loc_acc{suffix}{level}"] = sum(hits) / len(hits) if hits else math.nan
            expected[f"ap{suffix}{level}"] = precision(*both, at) if extended else math.nan
            expected[f"max_f1{suffix}{level}"] = best(*both, at) if extended else math.nan
        for key, value in expected.items():
            assert found.pop(key) == pytest.approx(value, abs=1e-12, nan_ok=True), key
    assert not found


def test_slavc_detects_among_positives_alone() -> None:
    pairs = measured([(i / 40, (i * 7 % 40) / 40, 1, 1, 1, 1) for i in range(40)])
    columns = pairs.confidence.tolist(), pairs.ciou.tolist(), [True] * 40
    found = summary(pairs, np.ones(40, bool), SLAVC)
    assert found["ap"] == pytest.approx(loops.slavc_average_precision(*columns))
    assert found["max_f1"] == pytest.approx(loops.slavc_max_f1(*columns))
    assert 0 < found["ap"] < 1
    assert math.isnan(summary(pairs, np.ones(40, bool), AVPIPE)["ap"])


@given(rows)
def test_curves_hold_the_scores(given_rows: list[tuple[float, ...]]) -> None:
    everything = np.ones(len(given_rows), bool)
    found = curves(measured(given_rows), everything, AVPIPE)
    positive = [row[4] > 0 for row in given_rows]
    own = [row[1] for row in given_rows if row[4] > 0]
    if own:
        rates = [sum(c >= 0.05 * i for c in own) / len(own) for i in range(21)]
        assert found["success_rate"] == pytest.approx(rates)
    if not own or all(positive):
        assert found["thresholds"] == found["precision"] == found["recall"] == found["f1"] == []
        return
    plain = [row[0] for row in given_rows], [row[1] for row in given_rows], positive
    assert found["thresholds"] == sorted(set(plain[0]), reverse=True)
    for index, threshold in enumerate(found["thresholds"]):
        counts = loops.counts(*plain, threshold, 0.5)
        expected = loops.precision_recall(*counts)
        assert (found["precision"][index], found["recall"][index]) == expected
    for suffix, column in (("", 1), ("_adaptive", 2), ("_fixed", 3)):
        plain = [row[0] for row in given_rows], [row[column] for row in given_rows], positive
        assert max(found[f"f1{suffix}"]) == pytest.approx(loops.max_f1(*plain))


def test_a_curve_has_200_points_and_both_ends() -> None:
    n = 1000
    confidence = np.random.default_rng(0).permutation(n) / n
    pairs = measured([(c, 1, 1, 1, i % 2, 1) for i, c in enumerate(confidence.tolist())])
    found = curves(pairs, np.ones(n, bool), AVPIPE)["thresholds"]
    assert (len(found), found[0], found[-1]) == (200, 0.999, 0.0)


def test_a_map_of_nan_is_no_point_of_a_curve() -> None:
    pairs = measured([(-math.inf, 0, 0, 0, 1, 1), (0.5, 1, 1, 1, 1, 1), (0.25, 0, 0, 0, 0, 1)])
    found = curves(pairs, np.ones(3, bool), AVPIPE)
    assert (found["thresholds"], found["recall"]) == ([0.5, 0.25], [0.5, 0.5])
    assert summary(pairs, np.ones(3, bool), AVPIPE)["max_f1"] == pytest.approx(2 / 3)


def test_maps_of_votes_and_of_masks_are_counted_alike() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((4, 20, 20)).astype(np.float32)
    masks = rng.random((4, 20, 20)) < 0.3
    masks[3] = False
    as_bool = measure(maps, masks, np.array([1, 1, 1, 0]), AVPIPE)
    as_float = measure(maps, masks.astype(np.float64), np.array([1, 1, 1, 0]), AVPIPE)
    for one, other in zip(as_bool, as_float, strict=True):
        np.testing.assert_array_equal(one, other)
    assert as_bool.area_px.tolist() == masks.sum((1, 2)).tolist()
    assert as_bool.ciou[3] == as_bool.ciou_adaptive[3] == 0
    halves = measure(maps, masks * 0.5, np.ones(4, int), AVPIPE)
    chosen = metrics.binarize(maps, metrics.Threshold.MEDIAN)
    for found, predicted, truth in zip(halves.ciou, chosen, masks * 0.5, strict=True):
        expected = loops.ciou(predicted.ravel().tolist(), truth.ravel().tolist())
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("chunk", "threads"), [(3, 1), (4, 2), (100, 2)])
def test_chunks_keep_the_order(chunk: int, threads: int) -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((11, 9, 9)), rng.random((11, 9, 9)) < 0.5
    num_boxes = np.arange(11)

    def look(part: slice) -> Measured:
        return measure(maps[part], masks[part], num_boxes[part], SLAVC)

    found = measure_all(11, look, chunk=chunk, threads=threads)
    for one, other in zip(found, measure(maps, masks, num_boxes, SLAVC), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_to_measure_gives_nothing() -> None:
    empty = np.zeros((0, 9, 9))
    found = measure_all(0, lambda _: measure(empty, empty, np.zeros(0, int), AVPIPE))
    assert {len(column) for column in found} == {0}
    assert all(math.isnan(v) for v in summary(found, np.zeros(0, bool), AVPIPE).values())


def test_sizes_hold_their_start_and_not_their_end() -> None:
    areas = np.array([0, 1023.5, 1024, 9215, 9216, 20735.5, 20736, 50176])
    assert size_of(areas) == [
        "small", "small", "medium", "medium", "large", "large", "huge", "huge"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def vggss() -> list[list[list[float]]]:
    """Boxes of the 5,158 clips."""
    if not VGGSS.exists():
        pytest.skip(f"{VGGSS} is not there: the real boxes of VGG-SS")
    return [entry["bbox"] for entry in json.loads(VGGSS.read_text())]


def test_areas_of_vggss(vggss: list[list[list[float]]]) -> None:
    areas = np.array([np.count_nonzero(union_masks([boxes])) for boxes in vggss])
    assert areas[:5].tolist() == [4928, 1950, 10500, 14388, 32704]
    assert areas.sum() == 80_861_819
    assert np.median(areas) == 12703.5
    assert np.sum(areas == 0) == 2
    assert Counter(size_of(areas.astype(float))) == {
        "small": 134, "medium": 1796, "large": 1726, "huge": 1502
    }  # fmt: skip


def measure_boxes(boxes: list[list[list[float]]], maps_of) -> Measured:
    def look(part: slice) -> Measured:
        masks = union_masks(boxes[part])
        return measure(maps_of(masks), masks, np.ones(len(masks), int), AVPIPE)

    return measure_all(len(boxes), look)


def test_the_best_half_of_the_picture_is_bounded_on_vggss(vggss) -> None:
    falling = np.linspace(0.5, 0, 224 * 224, dtype=np.float32).reshape(224, 224)  # no ties
    best = measure_boxes(vggss, lambda masks: masks + falling)
    found = summary(best, np.ones(len(vggss), bool), AVPIPE)
    assert round(100 * found["loc_acc"], 2) == 50.54
    assert round(100 * found["auc"], 2) == 49.47
    assert found["loc_acc_adaptive"] == 5156 / 5158  # two truths are empty


def test_the_centre_disc_on_vggss(vggss) -> None:
    disc = center_prior()
    found = summary(
        measure_boxes(vggss, lambda masks: np.broadcast_to(disc, masks.shape)),
        np.ones(len(vggss), bool),
        AVPIPE,
    )
    assert round(100 * found["loc_acc"], 2) == 34.02
    assert round(100 * found["auc"], 2) == 37.44
