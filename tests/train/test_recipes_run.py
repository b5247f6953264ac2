"""Every recipe that comes along trains, small, and what it trained localizes."""

from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.train import load_run
from avpipe.train.loop import train
from avpipe.train.recipe import Recipe, list_recipes, load_recipe
from avpipe.train.runs.metric_lines import read_lines
from cache_factory import add_inputs, make_cache

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = [
    "width=16", "batch_size=8", "epochs=1", "audio_pool=8", "image_size=40", "image_resize=48",
    "embed_dim=16", "precision=fp32", "num_neighbors=2", "clusters=vggsound-resnet18-k4",
]  # fmt: skip


def small(name: str, *settings: str) -> Recipe:
    whole = load_recipe(name)
    scratch = ["image_init=scratch"] if whole.image_init == "imagenet" else []
    return load_recipe(name, [*SMALL, *scratch, *settings])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("cache"), 16)
    add_inputs(cache)
    return cache


@pytest.fixture(scope="module")
def sounds(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "spm-audio"
    train(cache, small("spm-audio"), folder, device="cpu")
    return folder


@pytest.mark.parametrize(
    "name", [*sorted(name for name in list_recipes() if name[:6] not in ("cached", "spm-au"))]
)
def test_every_recipe_trains_and_localizes(
    cache: Cache, sounds: Path, tmp_path: Path, name: str
) -> None:
    recipe = small(name, *([f"audio_init={sounds}"] if name == "spm" else []))
    result = train(cache, recipe, tmp_path, device="cpu")
    assert result.loss is not None and np.isfinite(result.loss)
    clip = cache.clip("clip001")
    found = load_run(tmp_path, device="cpu").localize(
        clip.frame, clip.waveform, clip.waveform_rate_hz
    )
    assert found.shape == (224, 224) and np.ptp(found) > 0
    line = read_lines(tmp_path / "metrics.jsonl")[0]
    weighted = [recipe.weights.get(term, 1) * value for term, value in line.items()]
    known = {"step", "epoch", "lr", "loss"}
    expected = sum(w for term, w in zip(line, weighted, strict=True) if term not in known)
    assert line["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("slavc", ["views=multi", "hints=both", "pooling=topk"]),
        ("lvs", ["views=augmented", "momentum=.9", "momentum_buffers=true", "lvs_form=paper"]),
        ("compact", ["objective=alignment", "views=neighbour", "hints=visual", "hint_norm=cell"]),
        ("ez-vsl", ["partners=both", "batch_norm=frozen", "last_stride=1", "hint_align=flip"]),
        ("multi-positive", ["views=single", "weights.alignment=0", "projection=mlp"]),
        ("distill", ["hints=none"]),
    ],
)
def test_parts_combine(cache: Cache, tmp_path: Path, name: str, settings: list[str]) -> None:
    result = train(cache, small(name, *settings), tmp_path, device="cpu")
    assert result.loss is not None and np.isfinite(result.loss)
