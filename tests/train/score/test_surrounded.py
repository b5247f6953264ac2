"""The object map of what is surrounded: cells against a loop, and its rows in `evaluate`."""

import json
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.stages.embed.run import embed
from avpipe.train.data.features import Cached
from avpipe.train.loop import train
from avpipe.train.metrics import ciou, consensus_union
from avpipe.train.nets.geometry import upsample
from avpipe.train.recipe import load_recipe
from avpipe.train.score.blends import minmax
from avpipe.train.score.evaluate import evaluate
from avpipe.train.score.surrounded import surrounded_maps, surroundedness
from avpipe.train.score.table import evaluate_text
from cache_factory import make_cache
from evaluation_factory import write_vggss

pytestmark = pytest.mark.usefixtures("one_thread")


def test_cells_are_weighed_as_in_a_loop() -> None:
    features = np.random.default_rng(0).random((6, 4, 5)).astype(np.float16)
    features[:, 1, 1] = 0  # of no length: it is like none more than another
    wanted = np.zeros((4, 5))
    full = features.astype(np.float64)
    for place in np.ndindex(4, 5):
        at_border, total = 0.0, 0.0
        for other in np.ndindex(4, 5):
            one, two = full[:, *place], full[:, *other]
            lengths = np.linalg.norm(one) * np.linalg.norm(two)
            weight = np.exp((one @ two / lengths if lengths else 0.0) / 0.2)
            total += weight
            at_border += weight * (other[0] in (0, 3) or other[1] in (0, 4))
        wanted[place] = 1 - at_border / total
    found = surroundedness(features)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.dtype == np.float32


def test_what_the_border_has_not_stands_out() -> None:
    rng = np.random.default_rng(0)
    ground, thing = rng.random((2, 16, 1, 1))
    features = np.broadcast_to(ground, (16, 9, 9)).copy()
    features[:, 2:5, 4:7] = thing
    features += 0.1 * rng.random(features.shape)
    found = surroundedness(features.astype(np.float16))
    inside = np.zeros((9, 9), bool)
    inside[2:5, 4:7] = True
    assert found[inside].min() > found[~inside].max() + 0.1


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("cache") / "avcache", 16)
    embed(
        cache, "hints", ("mobilenet-v2-96", "efficientat-mn04"), specs=("random",), device="cpu"
    )  # fmt: skip
    return Cache(cache.path)


def test_evaluate_scores_it_alone_and_blended(cache: Cache, tmp_path: Path) -> None:
    settings = [
        "image_encoder=cached:mobilenet-v2-96", "image_pca=8", "embed_dim=8", "batch_size=8",
        "epochs=1",
    ]  # fmt: skip
    train(cache, load_recipe("cached", settings), tmp_path / "run", device="cpu")
    write_vggss(tmp_path, cache.ids[:1])
    document = evaluate(
        [tmp_path / "run"], cache, annotations=tmp_path, benchmark="vggss", device="cpu"
    )
    (entry,) = document["runs"]
    features = cache.column("hints/mobilenet-v2-96")[cache.row_of(cache.ids[0])]
    own = upsample(
        surroundedness(features)[None], (224, 224), "rf-centred", np.arange(3) * 32.0, 96
    )
    ((box,),) = (entry["bbox"] for entry in json.loads((tmp_path / "vggss.json").read_text()))
    truth = consensus_union(np.array([box]), 224)[None]
    best = np.sort(own.ravel())[-int((truth > 0).sum())]
    wanted = float(ciou(own >= best, truth)[0])
    assert entry["scores"]["surrounded"]["ciou_mean_adaptive"] == pytest.approx(wanted, abs=1e-6)
    av = np.load(next((tmp_path / "run/evaluate").glob("vggss-maps.npz")), allow_pickle=False)
    cells = next(av[name] for name in av.files if av[name].ndim == 3)
    mixed = 0.4 * minmax(upsample(cells, (224, 224), "rf-centred", np.arange(3) * 32.0, 96))
    mixed += 0.6 * minmax(own)
    best = np.sort(mixed.ravel())[-int((truth > 0).sum())]
    wanted = float(ciou(mixed >= best, truth)[0])
    blended = entry["scores"]["blend_surrounded"]["ciou_mean_adaptive"]
    assert blended == pytest.approx(wanted, abs=1e-4)
    text = evaluate_text(document)
    assert "surrounded " in text and "blend with surrounded" in text


def test_without_features_there_is_none(cache: Cache) -> None:
    assert surrounded_maps(cache, cache.ids[:2], None) is None
    other = make_cache(cache.path.parent / "bare", 2)
    seen = Cached("mobilenet-v2-96", (1280, 3, 3), 1, None, "corners", 96)
    assert surrounded_maps(other, other.ids, seen) is None
    found = surrounded_maps(cache, cache.ids[:2], seen)
    assert found is not None and found.maps.shape == (2, 3, 3)
    np.testing.assert_allclose(found.centres_px, [0, 32, 64])
