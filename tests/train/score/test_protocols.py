"""Every protocol against a loop written after the released test code, and against its page."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import reference_metrics as loops
import torch
from avpipe.errors import UsageError
from avpipe.train.benchmarks import module_of
from avpipe.train.score.blends import blend, localization_maps, minmax, mix, object_maps
from avpipe.train.score.protocols import PAPERS, PROTOCOLS, Protocol, load_protocol
from avpipe.train.score.scoring import measure
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

ALL = {**PROTOCOLS, **{protocol.name: protocol for protocol in PAPERS.values()}}
PEERS = {
    "avpipe": loops.avpipe,
    "ez-vsl": loops.ez_vsl,
    "slavc": loops.slavc,
    "ssl-alignment": loops.ssl_alignment,
    "lvs": loops.lvs,
    "avgn": loops.slavc,
}
FILLED = {
    "ez-vsl": ("bilinear", True),
    "slavc": ("bicubic", True),
    "ssl-alignment": ("bilinear", False),
    "lvs": ("bilinear", False),
    "avgn": ("bicubic", True),
    "avsbench": ("bilinear", False),
}
cosines = st.integers(-8, 8).map(lambda eighths: eighths / 8)  # exact through every scaling
maps = arrays(np.float32, (2, 6, 6), elements=cosines)
truths = arrays(np.float64, (2, 6, 6), elements=st.sampled_from([0.0, 0.0, 0.5, 1.0]))


@pytest.mark.parametrize("name", FILLED)
def test_maps_are_filled_in_as_the_peer_does(name: str) -> None:
    mode, align = FILLED[name]
    similarity = np.random.default_rng(0).uniform(-1, 1, (3, 7, 7)).astype(np.float32)
    expected = F.interpolate(
        torch.from_numpy(similarity)[:, None], (224, 224), mode=mode, align_corners=align
    )[:, 0].numpy()
    objects = object_maps(similarity, PROTOCOLS[name])
    np.testing.assert_allclose(objects, expected, atol=5e-6)  # torch: float32 places
    if PROTOCOLS[name].scale == "unit":
        expected = (expected / 0.03 + 1 / 0.03) / (2 / 0.03)
    found = localization_maps(similarity, PROTOCOLS[name])
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_ssl_alignment_fills_in_other_benchmarks_from_the_corners() -> None:
    protocol = PROTOCOLS["ssl-alignment"]
    assert protocol.geometry_on(module_of("vggss-extended").GEOMETRY) == "cell-centred"
    assert protocol.geometry_on(module_of("flickr").GEOMETRY) == "corners"
    assert PROTOCOLS["lvs"].geometry_on("elsewhere") == "cell-centred"
    similarity = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    found = localization_maps(similarity, protocol, size_px=3, geometry="corners")
    assert found[0].tolist() == [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]


@pytest.mark.parametrize("name", PEERS)
@given(maps, truths)
def test_rows_agree_with_the_peers_loop(name: str, cosine, truth) -> None:
    protocol = PROTOCOLS[name]
    scaled = (cosine + 1) / 2 if protocol.scale == "unit" else cosine
    found = measure(scaled, truth, np.ones(2, int), protocol)
    for row in range(2):
        expected = PEERS[name](cosine[row].ravel().tolist(), truth[row].ravel().tolist())
        for column, value in expected.items():
            assert getattr(found, column)[row] == pytest.approx(value, abs=1e-6), column


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize(
    "rows",
    [
        *(np.full((6, 6), value) for value in (-0.5, 0.0, 0.5)),  # one value everywhere
        np.where(np.arange(36).reshape(6, 6) < 24, 0.75, -0.5),  # more than half at the peak
        np.where(np.arange(36).reshape(6, 6) < 24, -0.25, -0.5),
        np.where(np.arange(36).reshape(6, 6) < 24, -0.25, 0.5),  # more than half at the bottom
    ],
)
def test_flat_maps_agree_with_the_peers_loop(name: str, rows) -> None:
    test_rows_agree_with_the_peers_loop.hypothesis.inner_test(
        name, np.stack([rows, -rows]).astype(np.float32), np.eye(6)[None].repeat(2, 0)
    )


@pytest.mark.parametrize("cells", [7, 14])
def test_a_map_of_one_value_stays_one_but_for_rounding(cells: int) -> None:
    """docs/protocol.md says where rounding decides."""
    values = np.random.default_rng(0).uniform(-1, 1, 40).astype(np.float32)
    maps = np.broadcast_to(values[:, None, None], (40, cells, cells))
    for name, protocol in ALL.items():
        centres_px = np.arange(cells) * (224 / cells)
        filled = localization_maps(maps, protocol, centres_px=centres_px, image_px=224)
        flat = filled.max((1, 2)) == filled.min((1, 2))
        exact = protocol.kernel == "linear" and protocol.geometry != "corners"
        assert flat.all() if exact else not flat.all(), name


@given(arrays(np.float32, (2, 6, 6), elements=st.one_of(cosines, st.just(math.nan))), truths)
def test_nan_is_never_predicted(cosine, truth) -> None:
    found = measure(cosine, truth, np.ones(2, int), PROTOCOLS["avpipe"])
    for row in range(2):
        expected = loops.avpipe(cosine[row].ravel().tolist(), truth[row].ravel().tolist())
        for column, value in expected.items():
            assert getattr(found, column)[row] == pytest.approx(value, abs=1e-12), column


@pytest.mark.parametrize("name", ["avpipe", "ez-vsl", "slavc", "ssl-alignment", "lvs", "paper-avc"])
def test_blends_agree_with_the_peers_loop(name: str) -> None:
    protocol = ALL[name]
    rng = np.random.default_rng(1)
    cosine = rng.uniform(-1, 1, (2, 4, 4)).astype(np.float32)
    objects = rng.uniform(0, 3, (2, 4, 4)).astype(np.float32)
    scaled = (cosine + 1) / 2 if protocol.scale == "unit" else cosine
    for alpha in (None, 0.0, 0.7):
        found = blend(protocol, scaled, objects, alpha)
        share = protocol.alpha if alpha is None else alpha
        for row in range(2):
            expected = loops.blended(
                name, cosine[row].ravel().tolist(), objects[row].ravel().tolist(), share
            )
            np.testing.assert_allclose(found[row].ravel(), expected, atol=1e-6)


def test_a_mix_of_three_is_a_third_of_each() -> None:
    av, one, two = np.random.default_rng(0).random((3, 1, 4, 4)).astype(np.float32)
    found = mix(PAPERS["avc"], av, {"ogl": (1 / 3, one), "detr": (1 / 3, two)})
    expected = (minmax(av) + minmax(one) + minmax(two)) / 3
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_alphas_are_those_that_were_reported() -> None:
    assert {name: protocol.alpha for name, protocol in ALL.items()} == {
        "avpipe": 0.4,
        "slavc": 0.9,
        "ez-vsl": 0.4,
        "ssl-alignment": 0.4,
        "lvs": 0.4,
        "avgn": 0.4,
        "avsbench": 0.4,
        "paper-slavc": 0.9,
        "paper-alignment": 0.4,
        "paper-avc": 0.6,
    }


def test_a_constant_map_becomes_zero() -> None:
    assert not minmax(np.full((1, 2, 2), 3.0)).any()


def test_names_are_checked() -> None:
    assert load_protocol("avpipe").geometry == "rf-centred"
    assert load_protocol("paper", "avc").name == "paper-avc"
    with pytest.raises(UsageError, match=r"no protocol 'x': one of avpipe, .*, paper"):
        load_protocol("x")
    with pytest.raises(UsageError, match=r"which paper.*slavc, alignment, avc"):
        load_protocol("paper")
    with pytest.raises(UsageError, match=r"no paper 'x'.*one of slavc"):
        load_protocol("paper", "x")
    with pytest.raises(UsageError, match="--paper avc goes with --protocol paper"):
        load_protocol("slavc", "avc")


def test_the_page_has_every_field_of_every_protocol() -> None:
    page = (Path(__file__).parents[3] / "docs/protocol.md").read_text(encoding="utf-8")
    rows = [re.split(r" *\| *", line.strip("| \n")) for line in page.splitlines() if "|" in line]
    table = {row[0].strip("`"): row[1:] for row in rows if len(row) == len(ALL) + 1}
    names = [name.strip("`") for name in table["field"]]
    assert set(names) == set(ALL)
    for field in dataclasses.fields(Protocol)[1:]:
        written = dict(zip(names, table[field.name], strict=True))
        for name, protocol in ALL.items():
            value = getattr(protocol, field.name)
            told = {None: "the same", True: "yes", False: "no"}
            text = told[value] if value is None or isinstance(value, bool) else str(value)
            assert written[name] == text, (field.name, name)
