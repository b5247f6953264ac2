"""`knn --image run:RUN`: frames are alike where a run sees their sounds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.state import headers
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.errors import InputError
from avpipe.pipeline.main import main
from avpipe.pipeline.verified.caches import commands
from avpipe.stages.embed.run import embed
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import (
    load_weights,
    require_checkpoint,
    save_checkpoint,
    weights_digest,
)
from avpipe.train.runs.localizer import load_run, mean_of_best
from avpipe.train.runs.regions import regions_of_run
from cache_factory import make_cache

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = [
    "image_encoder=cached:mobilenet-v2-96", "image_pca=8", "embed_dim=8", "batch_size=8",
    "epochs=2", "precision=fp32",
]  # fmt: skip
STAGE = "embeddings/region-first"
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cache with features, and a run that learnt from 16 of its clips."""
    folder = tmp_path_factory.mktemp("trained")
    cache = make_cache(folder / "cache", 20, shard_clips=8)
    embed(cache, "hints", ("mobilenet-v2-96", "efficientat-mn04"), specs=("random",), device="cpu")
    cache = Cache(cache.path)
    train(cache, load_recipe("cached", SMALL), folder / "first", ids=cache.ids[:16], device="cpu")
    return cache.path, folder / "first"


@pytest.fixture
def cache(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(trained[0], tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command with --json; return its document."""

    def run(*words: object) -> Any:
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def knn(run: Path, cache: Path) -> tuple[object, ...]:
    return ("knn", "--k", 3, "--image", f"run:{run}", "--audio", "none", "--cache", cache)


def test_the_best_cells_are_averaged() -> None:
    rng = np.random.default_rng(0)
    features, maps = rng.normal(size=(3, 4, 2, 5)), rng.normal(size=(3, 2, 5))
    found = mean_of_best(torch.from_numpy(features), torch.from_numpy(maps), 0.3).numpy()
    for i in range(3):
        cells = sorted(np.ndindex(2, 5), key=lambda cell: -maps[i][cell])[:3]
        expected = sum(features[i][:, y, x] for y, x in cells) / 3
        np.testing.assert_allclose(found[i], expected)
    one = mean_of_best(torch.from_numpy(features), torch.from_numpy(maps), 0.01)
    assert one.shape == (3, 4)


def test_regions_are_where_the_map_of_the_clips_own_sound_is_highest(
    trained: tuple[Path, Path], cache: Path, ask: Ask
) -> None:
    made = ask(*knn(trained[1], cache))
    assert (made["embedded"], made["done"]) == (20, 20)
    (stage,) = made["stages"]
    assert stage.startswith("neighbors/image-region-first@")
    opened, run = Cache(cache), load_run(trained[1], "cpu")
    maps = run.maps(opened, opened.rows)
    column, hints = opened.column(STAGE), opened.column("hints/mobilenet-v2-96")
    encoder = run._model.image_encoder
    for row, one_map in zip(opened.rows.tolist(), maps, strict=True):
        features = encoder.reduce(hints[row]).astype(np.float32).reshape(8, -1)
        best = np.argsort(-one_map.ravel())[: max(1, round(0.1 * one_map.size))]
        np.testing.assert_allclose(column[row], features[:, best].mean(1), rtol=1e-3, atol=1e-3)
    header = next(iter(headers(cache, STAGE)))
    (checkpoint, _) = require_checkpoint(trained[1])
    assert header.weights == weights_digest(checkpoint)
    assert {"hints/mobilenet-v2-96", "hints/efficientat-mn04", "extract"} == set(header.inputs)


def test_of_a_run_that_trains_on_the_weights_are_those_of_the_digest(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run, cache = shutil.copytree(trained[1], tmp_path / "first"), Cache(trained[0])
    regions = regions_of_run(run)
    before = regions.open("cpu")(cache, cache.rows)
    newest, step = require_checkpoint(run)
    weights = {name: one + 0.1 for name, one in load_weights(newest).items()}
    save_checkpoint(run, step + 1, weights, {})
    np.testing.assert_array_equal(regions.open("cpu")(cache, cache.rows), before)
    save_checkpoint(run, step + 2, weights, {})
    with pytest.raises(InputError, match=f"{newest} is gone .* run the same command again"):
        regions.open("cpu")


def test_what_is_done_is_skipped_and_a_recipe_takes_it(
    trained: tuple[Path, Path], cache: Path, ask: Ask, tmp_path: Path
) -> None:
    ask(*knn(trained[1], cache))
    again = ask(*knn(trained[1], cache))
    assert (again["embedded"], again["done"], again["skipped"]) == (0, 0, 20)
    words = [*SMALL, "views=neighbour", "num_neighbors=1", "image_neighbors=region-first",
             "audio_neighbors=own"]  # fmt: skip
    result = train(Cache(cache), load_recipe("cached", words), tmp_path / "run", device="cpu")
    assert result.loss is not None and np.isfinite(result.loss)
    path = next((cache / STAGE).glob("*.h5"))
    path.write_bytes(path.read_bytes()[:-1])
    assert commands(cache, verify(cache, repair=True)) == [
        f"avpipe knn --image run:RUN --audio none --k 3 --cache {cache}"
    ]


def test_other_weights_by_the_same_name_are_refused(
    trained: tuple[Path, Path], cache: Path, ask: Ask, tmp_path: Path, capsys: Any
) -> None:
    run = tmp_path / "first"
    ask(*knn(trained[1], cache))
    train(Cache(cache), load_recipe("cached", SMALL), run, seed=1, device="cpu")
    assert main([str(word) for word in knn(run, cache)]) == 5
    assert "weights" in capsys.readouterr().err
    assert ask(*knn(run, cache), "--overwrite")["done"] == 20


def test_what_cannot_be_compared_is_told_in_one_line(
    trained: tuple[Path, Path], cache: Path, tmp_path: Path, capsys: Any
) -> None:
    held = tmp_path / "test.txt"
    held.write_text("clip003\n")
    run = f"run:{trained[1]}"
    for words, code, line in (
        (["knn", "--image", "run:nowhere", "--audio", "none"], 4, "nowhere holds no run"),
        (["knn", "--image", "run:", "--audio", "none"], 2, "names no run"),
        (["knn", "--image", run, "--audio", "none", "--dry-run"], 2, "--dry-run cannot tell"),
        (["embed-teachers", "--visual", run, "--audio", "none"], 2, "for knn"),
        (["knn", "--image", "none", "--audio", run], 4, "--audio efficientat-mn04"),
        (["cluster", "--audio", run], 4, "compare them by efficientat-mn04"),
        (["knn", "--k", "3", "--image", run, "--audio", "none", "--hold-out", str(held)], 0,
         "was trained on 1 clips of --hold-out"),
    ):  # fmt: skip
        assert main([*words, "--cache", str(cache)]) == code
        out, err = capsys.readouterr()
        assert line in out + err
        assert code == 0 or err.count("\n") == 1
