"""Sound promotion: sounds learn their clusters, images learn from the frozen encoder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import InputError
from avpipe.train import load_run
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import (
    latest_checkpoint,
    load_weights,
    require_checkpoint,
    weights_digest,
)
from avpipe.train.runs.record import read_record
from avpipe.train.score.evaluate import evaluate
from cache_factory import add_inputs, make_cache
from evaluation_factory import write_vggss

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = [
    "width=16", "batch_size=8", "audio_pool=8", "precision=fp32",
    "clusters=vggsound-resnet18-k4", "lr=3e-3", "spectrogram_mean=-10", "spectrogram_std=4",
]  # fmt: skip
IMAGES = [*SMALL, "image_init=scratch", "image_size=40", "image_resize=48", "embed_dim=16"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("cache"), 24)
    add_inputs(cache)
    return cache


@pytest.fixture(scope="module")
def sounds(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the first step."""
    folder = tmp_path_factory.mktemp("runs") / "spm-audio"
    train(cache, load_recipe("spm-audio", [*SMALL, "epochs=12"]), folder, device="cpu")
    return folder


def weights_of(run: Path, part: str) -> dict[str, torch.Tensor]:
    found = latest_checkpoint(run)
    assert found
    return {
        name.partition(part)[2]: value
        for name, value in load_weights(found[0]).items()
        if name.startswith(f"online.{part}")
    }


def losses_of(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_sounds_learn_the_numbers_of_their_clusters(sounds: Path) -> None:
    losses = losses_of(sounds)
    assert losses[0] == pytest.approx(np.log(4), abs=0.7)
    assert np.mean(losses[-3:]) < 0.3 * losses[0]


def test_a_run_that_only_hears_does_not_localize(cache: Cache, sounds: Path) -> None:
    clip = cache.clip("clip001")
    run = load_run(sounds, device="cpu")
    with pytest.raises(InputError, match=r"only hears.*audio_init=RUN"):
        run.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
    assert np.isfinite(run.embed_audio(clip.waveform, clip.waveform_rate_hz)).all()
    for ask in (
        lambda: run.embed_frame(clip.frame),
        lambda: run.embed(clip.frame, clip.waveform, clip.waveform_rate_hz),
        lambda: run.embeddings(cache, cache.rows),
        lambda: run.maps(cache, cache.rows),
    ):
        with pytest.raises(InputError, match=r"only hears.*audio_init=RUN"):
            ask()


def test_a_run_that_only_hears_finds_no_frames(cache: Cache, sounds: Path, tmp_path: Path) -> None:
    annotations = write_vggss(tmp_path, cache.ids)
    with pytest.raises(InputError, match=r"only hears.*audio_init=RUN"):
        evaluate([sounds], cache, annotations=annotations, benchmark="retrieval", device="cpu")


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("recipe_name", ["spm", "ez-vsl"])
def test_the_encoder_of_sounds_is_taken_and_kept(
    cache: Cache, sounds: Path, tmp_path: Path, frozen: bool, recipe_name: str
) -> None:
    recipe = load_recipe(
        recipe_name,
        [*IMAGES, "epochs=2", f"audio_init={sounds}", f"audio_frozen={str(frozen).lower()}"],
    )
    train(cache, recipe, tmp_path, device="cpu")
    before, after = weights_of(sounds, "audio_encoder."), weights_of(tmp_path, "audio_encoder.")
    assert before and before.keys() == after.keys()
    same = [torch.equal(value, after[name]) for name, value in before.items()]
    assert all(same) if frozen else not any(same)
    assert json.loads((tmp_path / "run.json").read_text())["audio_weights"]
    if recipe_name == "spm":
        line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
        assert line["loss"] == pytest.approx(line["match"] + line["object"], rel=1e-5)


def test_killed_before_a_checkpoint_it_begins_anew_with_the_encoder_there_is(
    cache: Cache, sounds: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill(progress: object) -> None:
        raise Killed

    again = tmp_path / "again"
    train(cache, load_recipe("spm-audio", [*SMALL, "epochs=1"]), again, seed=5, device="cpu")
    recipe = load_recipe("spm", [*IMAGES, "epochs=2", f"audio_init={again}"])
    with pytest.raises(Killed):
        train(cache, recipe, tmp_path / "run", device="cpu", progress=kill)
    train(cache, load_recipe("spm-audio", [*SMALL, "epochs=1"]), tmp_path / "b", device="cpu")
    for path in (again, tmp_path / "b"):
        path.rename(path.with_name({"again": "old", "b": "again"}[path.name]))
    before = read_record(tmp_path / "run").audio_weights
    train(cache, recipe, tmp_path / "run", device="cpu")
    (checkpoint, _) = require_checkpoint(again)
    assert read_record(tmp_path / "run").audio_weights == weights_digest(checkpoint) != before


def test_an_encoder_that_hears_otherwise_is_refused(
    cache: Cache, sounds: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("spm", [*IMAGES, f"audio_init={sounds}", "audio_pool=4"])
    with pytest.raises(InputError, match=r"audio_pool = 8, this recipe 4"):
        train(cache, recipe, tmp_path / "run", device="cpu")
    recipe = load_recipe("spm", [*IMAGES, "audio_init=nowhere"])
    with pytest.raises(InputError, match=r"'nowhere' is no run.*--recipe spm-audio --run nowhere`"):
        train(cache, recipe, tmp_path / "run", device="cpu")
