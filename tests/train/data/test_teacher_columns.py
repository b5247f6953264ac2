"""What teachers left of clips, where some is missing, of another network, or holds no number."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.schema import shard_path
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.errors import AvpipeError
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.localizer import load_run
from cache_factory import add_values, make_cache
from evaluation_factory import write_vggss

pytestmark = pytest.mark.usefixtures("one_thread")

MAPS, SOUNDS = "hints/detr-r50", "hints/panns-wavegram"
SIZES = {MAPS: (20, 7, 7), SOUNDS: (24,)}
SETTINGS = [
    "image_encoder=cached:detr-r50", "audio_encoder=cached:panns-wavegram", "image_pca=4",
    "embed_dim=4", "batch_size=8", "epochs=1", "precision=fp32",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = make_cache(tmp_path_factory.mktemp("whole") / "avcache", 20)
    for stage, size in SIZES.items():
        add_values(cache, stage, size)
    return cache.path


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    """Two shards, of 16 clips and of 4, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "avcache"))


@pytest.fixture(scope="module")
def run(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    learn(whole, folder)
    return folder


def learn(cache: Path, folder: Path, *more: str, **how: object) -> None:
    train(Cache(cache), load_recipe("cached", [*SETTINGS, *more]), folder, device="cpu", **how)  # type: ignore[arg-type]


def refused(cache: Path, run: Path | None, tmp_path: Path) -> AvpipeError:
    """Return what training ends with, or evaluation where there is a run."""
    with pytest.raises(AvpipeError) as caught:
        if run is None:
            learn(cache, tmp_path / "new")
        else:
            load_run(run, "cpu").maps(Cache(cache), Cache(cache).rows)
    assert "\n" not in str(caught.value)
    return caught.value


def remake(cache: Path, stage: str, number: int, **changed: object) -> None:
    """Write a shard again with another header, or other values."""
    shard = Cache(cache).shard(stage, number)
    value = changed.pop("value", np.array(shard.column("value")))
    fields = {**vars(shard.header), **changed, "columns": {}, "sha256": ""}
    columns = {"row": Rows.array(np.array(shard.rows)), "value": Rows.array(value)}
    header = type(shard.header)(**{k: v for k, v in fields.items() if k in KEPT})
    path = shard_path(cache, stage, number)
    path.unlink()
    write_shard(path, header, columns)


KEPT = ("stage", "stage_version", "shard", "params", "inputs", "n", "done", "weights")


@pytest.mark.parametrize("trained", [False, True])
def test_all_that_is_missing_is_one_line_with_the_command_for_it_alone(
    trained: bool, cache: Path, run: Path, tmp_path: Path
) -> None:
    shutil.rmtree(cache / MAPS)
    shard_path(cache, SOUNDS, 1).unlink()
    error = refused(cache, run if trained else None, tmp_path)
    assert f"lacks {MAPS} of 20 of 20 clips and {SOUNDS} of 4; run" in str(error)
    words = f"`avpipe embed-teachers --visual detr-r50 --audio panns-wavegram --cache {cache}`"
    assert words in str(error) and error.exit_code == 4
    add_values(Cache(cache), MAPS, SIZES[MAPS])
    error = refused(cache, run if trained else None, tmp_path)
    assert f"lacks {SOUNDS} of 4 of 20 clips; run" in str(error)
    assert "--visual none --audio panns-wavegram" in str(error)


def test_what_was_random_is_filled_with_random_weights(cache: Path, tmp_path: Path) -> None:
    remake(cache, SOUNDS, 0, weights="random:0")
    shard_path(cache, SOUNDS, 1).unlink()
    assert "--weights random --cache" in str(refused(cache, None, tmp_path))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": "b" * 64}, "mixes features of different networks (bbbbbbbbbbbb in 1 shards"),
        ({"stage_version": 2}, "mixes features of different networks (different versions)"),
    ],
)
def test_features_of_two_networks_are_never_mixed(
    change: dict[str, object], says: str, trained: bool, cache: Path, run: Path, tmp_path: Path
) -> None:
    """As an `--overwrite` leaves them that was stopped."""
    remake(cache, MAPS, 0, **change)
    error = refused(cache, run if trained else None, tmp_path)
    assert says in str(error) and error.exit_code == 5
    assert "`avpipe embed-teachers --visual detr-r50 --audio none --overwrite --cache" in str(error)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"weights": "b" * 64},
            "(weights bbbbbbbbbbbb, the run's made): name a cache with the run's, or make these "
            "again: `avpipe embed-teachers --visual none --audio panns-wavegram --overwrite "
            "--weights panns-wavegram=FILE --cache",
        ),
        ({"stage_version": 2}, "of version 2, this run learnt from version 1: train again"),
    ],
)
def test_a_run_is_scored_on_its_own_networks_features_alone(
    change: dict[str, object], says: str, cache: Path, run: Path, tmp_path: Path
) -> None:
    for number in (0, 1):
        remake(cache, SOUNDS, number, **change)
    error = refused(cache, run, tmp_path)
    assert says in str(error) and error.exit_code == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": "b" * 64}, f"{SOUNDS} with weights made, which has weights bbbbbbbbbbbb now"),
        ({"stage_version": 2}, "panns-wavegram of version 1, the cache has version 2 now"),
    ],
)
def test_a_run_does_not_go_on_with_another_network(
    change: dict[str, object], says: str, cache: Path, tmp_path: Path
) -> None:
    learn(cache, tmp_path / "run")
    for number in (0, 1):
        remake(cache, SOUNDS, number, **change)
    with pytest.raises(AvpipeError) as caught:
        learn(cache, tmp_path / "run")
    assert says in str(caught.value) and caught.value.exit_code == 5


def test_features_of_clips_that_came_later_do_not_end_a_run(cache: Path, tmp_path: Path) -> None:
    ids = Cache(cache).ids
    learn(cache, tmp_path / "run", ids=ids)
    later = make_cache(cache, 8, first=20)
    for stage, size in SIZES.items():
        add_values(later, stage, size)
    learn(cache, tmp_path / "run", ids=ids)


@pytest.mark.parametrize("stage", SIZES)
@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("trained", ["", "image_pca=0 mean_shift=0", "run"])
def test_what_is_no_number_names_its_clip(
    trained: str, number: float, stage: str, cache: Path, run: Path, tmp_path: Path
) -> None:
    value = np.array(Cache(cache).shard(stage, 0).column("value"))
    value[5].flat[-1] = number
    remake(cache, stage, 0, value=value)
    with pytest.raises(AvpipeError) as caught:
        if trained == "run":
            load_run(run, "cpu").maps(Cache(cache), [1, 5])
        else:
            learn(cache, tmp_path / "new", *trained.split())
    path = shard_path(cache, stage, 0)
    assert f"{path}: value of clip clip005 holds NaN or infinity; remove the file and run" in str(
        caught.value
    )
    assert caught.value.exit_code == 4


def test_clips_that_are_validated_on_need_features_too(cache: Path, tmp_path: Path) -> None:
    shard_path(cache, SOUNDS, 1).unlink()
    ids = Cache(cache).ids
    learn(cache, tmp_path / "alone", ids=ids[:16])
    with pytest.raises(AvpipeError, match=f"lacks {SOUNDS} of 4 of 20 clips; run"):
        learn(cache, tmp_path / "run", val_ids=ids[16:])


def test_the_commands_end_with_one_line(
    cache: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boxes").mkdir()
    annotations = write_vggss(tmp_path / "boxes", Cache(cache).ids)
    shutil.rmtree(cache / SOUNDS)
    sets = " ".join(f"--set {one}" for one in SETTINGS)
    for words in (
        f"train --recipe cached --run {tmp_path}/new {sets}",
        f"evaluate {run} --benchmark vggss --annotations {annotations}",
        f"evaluate {run} --benchmark retrieval --annotations {annotations}",
        f"localize --ids {_list(tmp_path, cache)} --run {run}",
    ):
        assert main([*words.split(), "--cache", str(cache), "--device", "cpu"]) == 4, words
        (told,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert f"lacks {SOUNDS} of " in told
        assert "run `avpipe embed-teachers --visual none --audio panns-wavegram --cache" in told


def _list(folder: Path, cache: Path) -> Path:
    path = folder / "ids.txt"
    path.write_text("\n".join(Cache(cache).ids) + "\n")
    return path
