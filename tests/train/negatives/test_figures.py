"""Scores of negatives against loops over pixels, and thresholds that no positive moves."""

import itertools
import math

import numpy as np
import pytest
from avpipe.errors import InputError
from avpipe.train.benchmarks import Pair
from avpipe.train.negatives.figures import (
    balance,
    dark_area,
    lit_share,
    overlap,
    true_negatives,
)
from avpipe.train.negatives.levels import STATED, Level, derived, stated
from avpipe.train.negatives.made import Made
from avpipe.train.negatives.measured import Heard, Looked, figures_of, mixture, score_levels
from avpipe.train.negatives.strangers import strangers
from avpipe.train.score.protocols import PROTOCOLS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SHARES = st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.15, 0.5, 0.999, 1.0]), max_size=12)
PICTURES = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5)


def loop_area(shares: list[float]) -> float:
    """The trapezoid rule, step by step."""
    if not shares:
        return math.nan
    rates = [sum(share <= 0.05 * i for share in shares) / len(shares) for i in range(21)]
    return sum((low + high) / 2 * 0.05 for low, high in itertools.pairwise(rates))


@given(SHARES)
def test_area_of_negatives_is_the_loops(shares: list[float]) -> None:
    assert dark_area(np.array(shares)) == pytest.approx(loop_area(shares), nan_ok=True)
    for at_most in (0.0, 0.05):
        own = sum(share <= at_most for share in shares) / len(shares) if shares else math.nan
        assert true_negatives(np.array(shares), at_most) == pytest.approx(own, nan_ok=True)


@given(PICTURES, PICTURES)
def test_shares_and_overlaps_are_the_loops(one: list[list[bool]], two: list[list[bool]]) -> None:
    num = min(len(one), len(two))
    first, second = (np.array(own[:num]).reshape(num, 2, 3) for own in (one, two))
    lit, alike = [], []
    for own, other in zip(one[:num], two[:num], strict=True):
        lit.append(sum(own) / 6)
        either = sum(a or b for a, b in zip(own, other, strict=True))
        both = sum(a and b for a, b in zip(own, other, strict=True))
        alike.append(both / either if either else 1.0)
    assert lit_share(first) == pytest.approx(lit)
    assert overlap(first, second) == pytest.approx(alike)


def test_harmonic_mean() -> None:
    assert balance(0.5, 1.0) == pytest.approx(2 / 3)
    assert balance(0.0, 0.0) == 0.0 == balance(0.0, 1.0)
    assert math.isnan(balance(math.nan, 0.5))


def test_figures_of_one_threshold_by_hand() -> None:
    lit = {"silence": np.array([[0.0, 0.5]]), "own": np.array([[1.0]])}
    found = figures_of(Looked(np.array([0.6, 0.2]), lit, {"silence": np.array([[1.0, 0.25]])}))
    assert (found["loc_acc"], found["ciou_mean"]) == (0.5, pytest.approx(0.4))
    assert found["silence"] == {
        "pia": 0.25, "auc_n": pytest.approx(loop_area([0.0, 0.5])), "tnr": 0.5, "tnr_05": 0.5,
        "alike": 0.625,
    }  # fmt: skip
    assert found["f"] == pytest.approx(2 * 0.4 * 0.75 / (0.4 + 0.75))  # `own` is not in F
    assert found["own"]["pia"] == 1.0 and "alike" not in found["own"]
    assert found["f_auc"] == pytest.approx(
        2 * found["auc"] * loop_area([0.0, 0.5]) / (found["auc"] + loop_area([0.0, 0.5]))
    )


def test_several_draws_have_a_mean_and_a_deviation() -> None:
    """F is that of each draw, whose other kinds stay."""
    drawn = np.array([[0.0, 0.2], [0.4, 0.6], [0.0, 0.0]])
    looked = Looked(
        np.array([0.6, 0.2]), {"silence": np.array([[0.1, 0.3]]), "offscreen": drawn},
        {"silence": np.array([[1.0, 0.0]]), "offscreen": np.ones((3, 2))},
    )  # fmt: skip
    found = figures_of(looked)
    assert found["offscreen"]["pia"] == pytest.approx(0.2) and found["silence"][
        "pia"
    ] == pytest.approx(0.2)
    fs = [2 * 0.4 * dark / (0.4 + dark) for dark in (0.85, 0.65, 0.9)]
    assert found["f"] == pytest.approx(sum(fs) / 3)
    mean = sum(fs) / 3
    assert found["std"]["f"] == pytest.approx(math.sqrt(sum((f - mean) ** 2 for f in fs) / 2))
    shares = [0.1, 0.5, 0.0]
    spread = math.sqrt(sum((share - 0.2) ** 2 for share in shares) / 2)
    assert found["std"]["offscreen"]["pia"] == pytest.approx(spread)
    assert found["std"]["offscreen"]["tnr"] == pytest.approx(np.std([0.5, 0, 1], ddof=1))
    assert set(found["std"]) == {"f", "f_auc", "offscreen"}


def test_a_pixel_at_the_threshold_and_one_that_is_no_number_are_dark() -> None:
    maps = np.full((1, 4, 4), 0.25)
    maps[0, 0, 0], maps[0, 0, 1] = np.nan, 0.5
    pairs = [Pair("a", "a")]
    heard = Heard(pairs, lambda asked: np.repeat(maps, len(asked), 0))
    level = derived(np.array([0.25]))[0]
    truth = np.zeros((1, 4, 4), bool)
    truth[0, 0, 1:3] = True
    for name in ("avpipe", "slavc"):  # whose maps are (cosine + 1) / 2
        unit = PROTOCOLS[name].scale == "unit"
        shown = Heard(pairs, lambda asked, unit=unit: (maps + 1) / 2 if unit else maps)
        found = score_levels(
            shown, lambda part: truth[part], {"noise": [shown]}, [level], PROTOCOLS[name]
        )
        assert found["q3"]["noise"]["pia"] == 1 / 16
        assert found["q3"]["ciou_mean"] == 0.5 and found["q3"]["noise"]["alike"] == 1.0
    assert heard.source(pairs).shape == (1, 4, 4)


CELLS = st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5, math.nan])
MAPS = arrays(np.float64, (3, 3, 3), elements=CELLS)
TRUTHS = arrays(bool, (3, 3, 3))
"""Few levels, so many ties with the threshold; some truths are empty, some maps are no number."""


@settings(max_examples=30, deadline=None)
@given(MAPS, MAPS, MAPS, TRUTHS, st.sampled_from([-0.25, 0.0, 0.25, 0.5]))
def test_figures_of_maps_are_the_loops(own, silence, noise, truth, at: float) -> None:
    """Pixel by pixel from the formulas: pIA, AUC_N, TNR, alike, cIoU, F and F_AUC."""
    pairs = [Pair(str(i), str(i)) for i in range(3)]

    def heard(maps) -> Heard:
        return Heard(pairs, lambda asked: maps[[int(pair.video) for pair in asked]])

    kinds = {"silence": silence, "noise": noise}
    level = Level("q3", at, "")
    found = score_levels(
        heard(own), lambda part: truth[part], {k: [heard(m)] for k, m in kinds.items()}, [level],
        PROTOCOLS["avpipe"],
    )["q3"]  # fmt: skip
    cious, lit, alike = [], {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    for row in range(3):
        chosen = [bool(value > at) for value in own[row].ravel()]
        true = truth[row].ravel().tolist()
        hits = sum(p and t for p, t in zip(chosen, true, strict=True))
        whole = sum(true) + sum(p and not t for p, t in zip(chosen, true, strict=True))
        cious.append(hits / whole if whole else 0.0)
        for kind, maps in kinds.items():
            other = [bool(value > at) for value in maps[row].ravel()]
            lit[kind].append(sum(other) / 9)
            either = sum(p or q for p, q in zip(chosen, other, strict=True))
            both = sum(p and q for p, q in zip(chosen, other, strict=True))
            alike[kind].append(both / either if either else 1.0)
    positive = sum(cious) / 3
    rates = [sum(value >= level for value in cious) / 3 for level in [0.05 * i for i in range(21)]]
    area = sum((low + high) / 2 * 0.05 for low, high in itertools.pairwise(rates))
    for kind in kinds:
        own_figures = found[kind]
        assert own_figures["pia"] == pytest.approx(sum(lit[kind]) / 3)
        assert own_figures["auc_n"] == pytest.approx(loop_area(lit[kind]))
        assert own_figures["tnr"] == sum(share == 0 for share in lit[kind]) / 3
        assert own_figures["alike"] == pytest.approx(sum(alike[kind]) / 3)
    assert found["ciou_mean"] == pytest.approx(positive) and found["auc"] == pytest.approx(area)
    dark = sum(1 - sum(shares) / 3 for shares in lit.values()) / 2
    dark_area_mean = sum(loop_area(shares) for shares in lit.values()) / 2
    for name, one, two in (("f", positive, dark), ("f_auc", area, dark_area_mean)):
        assert found[name] == pytest.approx(2 * one * two / (one + two) if one + two else 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.1, 0.7, 1.0]), min_size=1, max_size=12))
def test_derived_thresholds_are_the_loops(peaks: list[float]) -> None:
    """Third quartile by linear interpolation between ranks, as written out."""
    ranked = sorted(peaks)
    place = 0.75 * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    third = ranked[low] + (place - low) * (ranked[high] - ranked[low])
    found = {level.name: level.cosine for level in derived(np.array(peaks))}
    assert found == {"q3": pytest.approx(third), "max": ranked[-1]}


def test_thresholds() -> None:
    peaks = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    assert [(level.name, level.cosine) for level in derived(peaks)] == [("q3", 0.4), ("max", 0.9)]
    assert stated("avpipe") == [] == stated("paper-slavc")
    for network, values in STATED.items():
        assert values["max10"] == pytest.approx(1.1 * values["max"], abs=1e-4), network
    (_, _, q3) = stated("slavc")
    assert (q3.name, q3.cosine) == ("vssl-eval maxq3", pytest.approx(0.09))
    assert stated("ssl-alignment")[2].cosine == 0.3175


def test_the_peers_mixture_is_over_five_lists() -> None:
    rng = np.random.default_rng(1)
    maps, truth = rng.random((3, 8, 8)), rng.random((3, 8, 8)) > 0.7
    pairs = [Pair(str(i), str(i)) for i in range(3)]
    levels, protocol = stated("lvs"), PROTOCOLS["lvs"]
    found = mixture(
        Heard(pairs, lambda asked: maps[[int(pair.video) for pair in asked]]),
        lambda part: truth[part], levels, protocol,
    )  # fmt: skip
    listed = []
    for one, own in zip(maps, truth, strict=True):
        median = np.sort(one.ravel())[32]
        for value in (median, 0.5, 0.5527, 0.6080, 0.6077):
            hit = sum(bool(t) for p, t in zip(one.ravel(), own.ravel(), strict=True) if p >= value)
            either = sum(
                p >= value or bool(t) for p, t in zip(one.ravel(), own.ravel(), strict=True)
            )
            listed.append(hit / either)
    assert found["loc_acc"] == sum(value >= 0.5 for value in listed) / 15
    rates = [sum(value >= 0.05 * i for value in listed) / 15 for i in range(21)]
    area = sum((low + high) / 2 * 0.05 for low, high in itertools.pairwise(rates))
    assert found["auc"] == pytest.approx(area)


def test_made_sounds_depend_on_the_seed_and_their_name_alone() -> None:
    noise = Made("noise", 3)
    (one, two), (alone,) = noise.sounds(["a", "b"], 40_000), noise.sounds(["b"], 40_000)
    assert np.array_equal(two, alone) and not np.array_equal(one, two)
    assert (
        one.dtype == np.float32 and abs(one).max() > 3 and one.std() == pytest.approx(1, abs=0.02)
    )
    (other,) = Made("noise", 4).sounds(["b"], 40_000)
    assert not np.array_equal(other, alone)
    (silence,) = Made("silence").sounds(["a", "b"], 5)
    assert silence.tolist() == [0] * 5


def test_borrowed_sounds_are_of_no_class_in_the_picture() -> None:
    pictures = [Pair(f"c{i}", f"c{i}") for i in range(30)]
    sounds = {f"c{i}": frozenset({f"class{i % 3}"}) for i in range(30)}
    classes = [frozenset({f"class{i % 3}", "class0"}) for i in range(30)]
    found = strangers(pictures, classes, sounds, 0)
    assert [pair.video for pair in found] == [pair.video for pair in pictures]
    for shown, pair in zip(classes, found, strict=True):
        assert not sounds[pair.audio] & shown
    assert (
        found == strangers(pictures, classes, sounds, 0) != strangers(pictures, classes, sounds, 1)
    )
    assert len({pair.audio for pair in found}) > 8
    unknown = strangers(pictures, [frozenset()] * 30, dict.fromkeys(sounds, frozenset()), 0)
    assert all(pair.video != pair.audio for pair in unknown)
    with pytest.raises(InputError, match="no clip at hand sounds of another class than c0 shows"):
        strangers(pictures, [frozenset({"class0", "class1", "class2"})] * 30, sounds, 0)
