"""`--audio run:RUN`: clusters and neighbours by what a run's encoder of sounds has learnt."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.schema import AUDIO
from avpipe.cache.state import drop_stage, headers
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.errors import InputError, UsageError
from avpipe.pipeline.main import main
from avpipe.pipeline.networks.run_encoder import run_encoder_name
from avpipe.pipeline.verified.caches import commands
from avpipe.train import load_run
from avpipe.train.data.augment import evaluation_views
from avpipe.train.data.batches import Pick, Stream
from avpipe.train.data.clips import whole_clips
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import (
    load_weights,
    require_checkpoint,
    save_checkpoint,
    weights_digest,
)
from avpipe.train.runs.sounds import sounds_of_run
from cache_factory import make_cache

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = [
    "width=16", "embed_dim=16", "batch_size=8", "audio_pool=8", "precision=fp32", "lr=3e-3",
    "spectrogram_mean=-10", "spectrogram_std=4",
]  # fmt: skip
IMAGES = ["image_init=scratch", "image_size=40", "image_resize=48", "epochs=2"]
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cache, and a run of two seeds that learnt from its first 16 clips without labels."""
    folder = tmp_path_factory.mktemp("trained")
    cache = make_cache(folder / "cache", 20, shard_clips=8)
    recipe = load_recipe("ez-vsl", [*SMALL, *IMAGES, "spectrogram=16k-257x200"])
    for seed in (0, 1):
        run = folder / f"runs/ez vsl/seed{seed}"
        train(cache, recipe, run, seed=seed, ids=cache.ids[:16], device="cpu")
    return cache.path, folder / "runs/ez vsl"


@pytest.fixture
def cache(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(trained[0], tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command with --json; return its document."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        assert main([*words, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def test_the_features_are_those_the_run_hears_at_test(
    trained: tuple[Path, Path], cache: Path, ask: Ask
) -> None:
    run = trained[1] / "seed0"
    made = ask("cluster", "--audio", f"run:{run}", "--k", "3", "--cache", str(cache))
    stage = "embeddings/run-ez-vsl-seed0"
    assert made["stage"].startswith("clusters/run-ez-vsl-seed0-k3@")
    assert (made["embedded"], made["done"]) == (20, 20)
    (checkpoint, _) = require_checkpoint(run)
    assert made["weights"] == {stage: weights_digest(checkpoint)}
    opened = Cache(cache)
    localizer = load_run(run, "cpu")
    reader = whole_clips(opened, opened.rows, localizer.recipe)
    everything = np.arange(20)
    (batch,) = Stream(reader, 1).batches([Pick(everything, everything[:0], everything)])
    heard = evaluation_views(batch, localizer.recipe, torch.device("cpu")).spectrograms
    with torch.inference_mode():
        expected = localizer._model.audio_encoder(heard).amax((2, 3)).numpy()
    column = opened.column(stage)
    found = np.stack([column[row] for row in opened.rows.tolist()])
    assert found.shape == (20, 128)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    made = next(iter(headers(cache, stage)))
    assert made.params["spectrogram"] == "16k-257x200" and AUDIO in made.inputs


def test_its_clusters_are_what_the_next_step_learns(
    trained: tuple[Path, Path], cache: Path, ask: Ask, tmp_path: Path
) -> None:
    ask("cluster", "--audio", f"run:{trained[1]}/seed0", "--k", "3", "--cache", str(cache))
    words = ["clusters=run-ez-vsl-seed0-k3", *SMALL, "epochs=1"]
    train(Cache(cache), load_recipe("spm-audio", words), tmp_path / "run", device="cpu")
    record = json.loads((tmp_path / "run/run.json").read_text())
    (stage,) = record["inputs"]
    assert stage.startswith("clusters/run-ez-vsl-seed0-k3@")
    sounds = f"run:{tmp_path}/run"  # an encoder that only classifies serves too
    made = ask("cluster", "--audio", sounds, "--cache", str(cache))
    assert made["stage"].startswith("clusters/run-run-k11@")


def test_other_weights_by_the_same_name_are_refused_and_skipped_work_is_skipped(
    trained: tuple[Path, Path], cache: Path, ask: Ask, tmp_path: Path, capsys: Any
) -> None:
    run = tmp_path / "a/run"
    shutil.copytree(trained[1] / "seed0", run)
    words = ["cluster", "--audio", f"run:{run}", "--k", "3", "--cache", str(cache)]
    ask(*words)
    again = ask(*words)
    assert (again["embedded"], again["done"], again["skipped"]) == (0, 0, 20)
    shutil.rmtree(run)
    shutil.copytree(trained[1] / "seed1", run)
    assert main(words) == 5
    assert "weights" in capsys.readouterr().err
    assert ask(*words, "--overwrite")["done"] == 20


def test_of_a_run_that_trains_on_the_weights_are_those_of_the_digest(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(trained[1] / "seed0", tmp_path / "run")
    sounds = sounds_of_run(run)
    spectrograms = np.full((2, 257, 200), -8, np.float16)
    before = sounds.build(None, "cpu")(spectrograms)["value"]
    newest, step = require_checkpoint(run)
    weights = {name: one + 0.1 for name, one in load_weights(newest).items()}
    save_checkpoint(run, step + 1, weights, {})
    np.testing.assert_array_equal(sounds.build(None, "cpu")(spectrograms)["value"], before)
    assert not np.array_equal(load_run(run, "cpu").sound_features(spectrograms), before)
    save_checkpoint(run, step + 2, weights, {})
    save_checkpoint(run, step + 3, weights, {})
    with pytest.raises(InputError, match=f"{newest} is gone .* run the same command again"):
        sounds.build(None, "cpu")
    shutil.rmtree(newest.parent)
    assert save_checkpoint(run, step, weights, {}) == newest  # another run in its place
    with pytest.raises(InputError, match="was replaced"):
        sounds.build(None, "cpu")


def test_neighbours_are_sought_by_a_run_too(
    trained: tuple[Path, Path], cache: Path, ask: Ask
) -> None:
    run = f"run:{trained[1]}/seed1"
    words = ["knn", "--image", "none", "--audio", run, "--k", "4", "--cache", str(cache)]
    assert ask(*words, "--dry-run")["stages"][0]["stage"] == "embeddings/run-ez-vsl-seed1"
    (stage,) = ask(*words)["stages"]
    assert stage.startswith("neighbors/audio-run-ez-vsl-seed1@")
    path = next((cache / stage).glob("*.h5"))
    path.write_bytes(path.read_bytes()[:-1])
    told = commands(cache, verify(cache, repair=True))
    assert told == [f"avpipe knn --audio run:RUN --image none --k 4 --cache {cache}"]


def test_clips_that_are_held_out_and_were_learnt_from_are_told(
    trained: tuple[Path, Path], cache: Path, ask: Ask, tmp_path: Path
) -> None:
    (tmp_path / "test.txt").write_text("clip003\nclip018\n")
    words = ["cluster", "--audio", f"run:{trained[1]}/seed0", "--k", "3", "--cache", str(cache)]
    told = ask(*words, "--hold-out", str(tmp_path / "test.txt"))["notices"]
    assert any("was trained on 1 clips of --hold-out (clip003 first)" in line for line in told)


def test_what_cannot_be_heard_with_is_told_in_one_line(
    trained: tuple[Path, Path], cache: Path, capsys: Any
) -> None:
    for words, code, line in (
        (["cluster", "--audio", "run:nowhere"], 4, "nowhere holds no run"),
        (["cluster", "--audio", "run:"], 2, "names no run"),
        (["embed-teachers", "--audio", f"run:{trained[1]}/seed0"], 2, "for knn and cluster"),
    ):
        assert main([*words, "--cache", str(cache)]) == code
        told = capsys.readouterr().err
        assert line in told and told.count("\n") == 1
    drop_stage(cache, AUDIO)
    assert main(["cluster", "--audio", f"run:{trained[1]}/seed0", "--cache", str(cache)]) == 4
    assert "needs the sound" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("run:runs/first", "run-first"),
        ("run:runs/first/", "run-first"),
        ("run:runs/slavc/seed12", "run-slavc-seed12"),
        ("run:/tmp/a b@c=d/", "run-a-b-c-d"),
        ("run:" + "x" * 300, "run-" + "x" * 60),
        ("run:runs/ü", "run-unnamed"),
        ("run:..hidden..", "run-hidden"),
    ],
)
def test_names_of_stages_are_plain(text: str, name: str) -> None:
    assert run_encoder_name(text) == name
    with pytest.raises(UsageError):
        run_encoder_name("run:")
