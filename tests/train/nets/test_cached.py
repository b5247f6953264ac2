"""Cached features as encoders: what is trained, tested and localized from a teacher's hints."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import InputError, MissingDependencyError, UsageError
from avpipe.pipeline.main import main
from avpipe.stages.embed.run import embed
from avpipe.stages.neighbors.cluster import cluster
from avpipe.train.data.features import Cached
from avpipe.train.loop import train
from avpipe.train.negatives.made import Made
from avpipe.train.nets.cached import (
    CachedEncoder,
    clips_to_fit,
    mean_shift,
    principal_components,
)
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import Recipe, load_recipe, objective_names
from avpipe.train.runs.export import export_run
from avpipe.train.runs.localizer import load_run
from avpipe.train.runs.record import read_record
from cache_factory import make_cache
from evaluation_factory import change_page
from material_factory import write_tone
from PIL import Image
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = [
    "image_encoder=cached:mobilenet-v2-96", "image_pca=8", "embed_dim=8", "batch_size=8",
    "epochs=4", "precision=fp32",
]  # fmt: skip
TEACHERS = ("mobilenet-v2-96", "efficientat-mn04")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("cache") / "avcache", 20)
    embed(cache, "hints", TEACHERS, specs=("random",), device="cpu")
    return Cache(cache.path)


def trained(cache: Cache, folder: Path, recipe: str = "cached", **other: object) -> Path:
    train(cache, load_recipe(recipe, SMALL), folder, device="cpu", **other)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(cache, tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize("whiten", [False, True])
def test_components_are_those_of_a_singular_value_decomposition(whiten: bool) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6)
    mean, basis = principal_components(vectors, 3, whiten)
    np.testing.assert_allclose(mean, vectors.mean(0))
    _, values, axes = np.linalg.svd(vectors - vectors.mean(0))
    scales = values[0] / values[:3] if whiten else np.ones(3)
    np.testing.assert_allclose(np.abs(basis), np.abs(axes[:3] * scales[:, None]), atol=1e-9)
    assert (basis[np.arange(3), np.abs(basis).argmax(1)] > 0).all()
    deviations = ((vectors - mean) @ basis.T).std(0)
    if whiten:
        np.testing.assert_allclose(deviations, deviations[0])


def test_components_without_variance_stay_finite() -> None:
    vectors = np.ones((40, 5)) * np.arange(40)[:, None]
    for values in (vectors, np.ones((40, 5))):
        _, basis = principal_components(values, 4, whiten=True)
        assert np.isfinite(basis).all() and np.abs(basis).max() < 1e4


def test_clips_are_fitted_to_all_or_evenly() -> None:
    assert clips_to_fit(5).tolist() == [0, 1, 2, 3, 4]
    many = clips_to_fit(100_000)
    assert len(many) == 32_768 and (many[0], many[-1]) == (0, 99_999)


def test_reducing_is_the_same_at_every_cell() -> None:
    encoder = CachedEncoder(Cached("x", (6, 2, 3), 1, None), 4)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 2, 3)).astype(np.float16)
    encoder.fit((features for _ in range(3)), 3, whiten=False)
    found = encoder.reduce(features)
    assert found.dtype == np.float16 and found.shape == encoder.shape == (4, 2, 3)
    cell = encoder.basis.numpy() @ (features[:, 1, 2].astype(np.float32) - encoder.mean.numpy())
    np.testing.assert_allclose(found[:, 1, 2], cell, atol=2e-3)


def test_cells_move_as_in_a_loop_over_all_pairs() -> None:
    cells = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    cells[:, 3] = 0
    wanted = np.zeros_like(cells)
    for one in range(12):
        total = 0.0
        for other in range(12):
            lengths = np.linalg.norm(cells[:, one]) * np.linalg.norm(cells[:, other])
            cosine = cells[:, one] @ cells[:, other] / lengths if lengths else 0.0
            weight = np.exp((cosine - 1) / 0.3)
            wanted[:, one] += weight * cells[:, other]
            total += weight
        wanted[:, one] /= total
    np.testing.assert_allclose(mean_shift(cells, 0.3), wanted, atol=1e-5)


def test_cells_of_a_thing_become_alike_and_stay_apart_from_others() -> None:
    rng = np.random.default_rng(0)
    things = rng.normal(size=(2, 8, 1)).astype(np.float32)
    cells = np.concatenate([one + 0.5 * rng.normal(size=(8, 30)) for one in things], axis=1)
    apart, within = [], []
    for found in (cells, mean_shift(cells.astype(np.float32), 0.2)):
        halves = np.split(found, 2, axis=1)
        within.append(sum(half.std(1).mean() for half in halves))
        apart.append(np.linalg.norm(halves[0].mean(1) - halves[1].mean(1)))
    assert within[1] < 0.3 * within[0]
    assert apart[1] > 0.7 * apart[0]


def test_an_encoder_shifts_maps_after_they_were_rotated() -> None:
    features = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float16)
    plain, shifting = (CachedEncoder(Cached("x", (6, 2, 3), 1, None), 4, t) for t in (0, 1))
    for encoder in (plain, shifting):
        encoder.fit((features for _ in range(3)), 3, whiten=False)
    rotated = plain.reduce(features).astype(np.float32)
    wanted = mean_shift(rotated.reshape(4, 6), 1).reshape(4, 2, 3)
    np.testing.assert_allclose(shifting.reduce(features), wanted, atol=5e-3)
    assert np.abs(wanted - rotated).max() > 0.1


@pytest.mark.parametrize("recipe", ["cached", "cached-alignment", "cached-slavc"])
def test_a_run_scores_clips_of_the_cache_as_files(
    recipe: str, cache: Cache, tmp_path: Path
) -> None:
    """Maps from the cache's columns are those of the teachers at work on the frame and sound."""
    found = load_run(trained(cache, tmp_path / "run", recipe), "cpu")
    cells = found.maps(cache, [3], [5])
    assert cells.shape == (1, 3, 3)
    seen, heard = cache.clip("clip003"), cache.clip("clip005")
    audio = cache.column("hints/efficientat-mn04")[heard.row]
    live = found._intake.teacher("audio").of_sound(heard.waveform, heard.waveform_rate_hz)
    np.testing.assert_allclose(live, audio, atol=2e-3)
    wanted = found.upsample(cells)[0]
    own = found.localize(seen.frame, heard.waveform, heard.waveform_rate_hz)
    np.testing.assert_allclose(own, wanted, atol=0.02)
    assert np.ptp(wanted) > 0.01


def test_made_sounds_are_heard_by_the_teacher(cache: Cache, run: Path) -> None:
    """Noise of deviation 1 reaches the teacher as it is: a third of it is beyond full scale."""
    found, made = load_run(run, "cpu"), Made("noise")
    (noise,) = made.sounds(["x"], 96_000)
    cells = found.maps_with(cache, [3], ["x"], made)
    live = found._intake.teacher("audio")
    loud = live.of_loud_sound(noise)
    own = live._network(noise[None])["value"][0]
    np.testing.assert_allclose(loud, own, atol=1e-3)
    assert np.abs(loud - live.of_sound(noise, 32_000)).max() > 1e-3  # clipped, as the cache keeps
    audio = found._model.embed_spectrograms(torch.from_numpy(loud)[None])
    visual = found._embed_frame(cache.clip("clip003").frame)
    with torch.inference_mode():
        wanted = found._map_of(visual, audio).numpy()
    np.testing.assert_allclose(cells, wanted, atol=0.02)
    silent = found.maps_with(cache, [3, 4], ["a", "b"], Made("silence"))
    assert silent.shape == (2, *cells.shape[1:]) and np.abs(silent[0] - silent[1]).max() > 0


def test_the_cells_lie_where_the_teachers_do(cache: Cache, run: Path) -> None:
    found = load_run(run, "cpu")
    size = found.recipe.image_size
    shares = (found.centres_px + 0.5) / size
    np.testing.assert_allclose(shares, (np.arange(3) * 32 + 0.5) / 96)


def test_resident_and_streamed_and_resumed_are_the_same(cache: Cache, tmp_path: Path) -> None:
    runs = {mode: trained(cache, tmp_path / mode, data=mode) for mode in ("resident", "stream")}
    lines = [(path / "metrics.jsonl").read_bytes() for path in runs.values()]
    assert lines[0] == lines[1] and lines[0].count(b"\n") == 8
    assert read_record(runs["stream"]).features["audio"].shape == (384,)


@pytest.mark.parametrize(
    "settings",
    [
        ["views=augmented", "flip=.5"],
        ["hints=both", "visual_teacher=mobilenet-v2-96", "audio_teacher=efficientat-mn04",
         "hint_align=roi", "flip=.5"],
        ["audio_pca=4", "whiten=true", "projection=mlp"],
        ["mean_shift=0"],
        ["image_encoder=compact", "image_pca=0", "mean_shift=0", "width=16", "image_size=32",
         "image_resize=32"],
        ["audio_encoder=resnet18", "width=16", "audio_pool=4"],
        ["momentum=.9", "test_weights=momentum"],
    ],
)  # fmt: skip
def test_parts_combine(settings: list[str], cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe("cached", [*SMALL, *settings, "epochs=1"])
    result = train(cache, recipe, tmp_path / "run", device="cpu", val_ids=cache.ids[:4])
    assert result.loss is not None and np.isfinite(result.loss)
    clip = cache.clip(cache.ids[2])
    localizer = load_run(tmp_path / "run", "cpu")
    found = localizer.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
    cached = localizer.upsample(localizer.maps(cache, [clip.row]))[0]
    assert found.shape == (224, 224) and np.isfinite(found).all() and cached.shape == found.shape


@pytest.mark.parametrize("objective", objective_names())
def test_every_objective_learns_from_cached_features(
    objective: str, cache: Cache, tmp_path: Path
) -> None:
    cluster(cache, "efficientat-mn04", 3)
    words = [*SMALL, f"objective={objective}", "clusters=efficientat-mn04-k3", "epochs=1"]
    result = train(cache, load_recipe("cached", words), tmp_path / "run", device="cpu")
    assert result.loss is not None and np.isfinite(result.loss)
    if load_objective(objective).NEEDS.frames:
        maps = load_run(tmp_path / "run", "cpu").maps(cache, cache.rows)
        assert maps.shape == (20, 3, 3) and np.isfinite(maps).all()


def test_mirrored_views_of_maps_differ(cache: Cache, tmp_path: Path) -> None:
    losses = []
    for flip in ("0", "1"):
        recipe = load_recipe("cached", [*SMALL, f"flip={flip}", "epochs=1", "visual_dropout=0"])
        losses.append(train(cache, recipe, tmp_path / flip, device="cpu").loss)
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("image_encoder=cached:detr-r50", "lacks hints/detr-r50 .* --visual detr-r50"),
        ("audio_encoder=cached:panns-cnn14", "lacks hints/panns-cnn14 .* --audio panns-cnn14"),
        ("audio_encoder=cached:mobilenet-v2-96", "an audio hint is one vector of each sound"),
        ("image_encoder=cached:efficientat-mn04", "a visual hint is a map of each frame"),
    ],
)
def test_missing_features_are_named_with_their_command(
    settings: str, says: str, cache: Cache, tmp_path: Path
) -> None:
    recipe = load_recipe("cached", [*SMALL, settings])
    with pytest.raises(InputError, match=says):
        train(cache, recipe, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("image_encoder=cached:", "expected one of resnet18, compact"),
        ("image_encoder=vgg", "expected one of resnet18, compact"),
        ("audio_encoder=compact", "expected one of resnet18, cached:TEACHER"),
        (
            "last_stride=1",
            "last_stride belongs to image_encoder = 'resnet18'; with cached",
        ),
        ("time_shift=true", "time_shift belongs to audio_encoder = 'resnet18'"),
        ("audio_init=runs/x", "audio_init belongs to audio_encoder = 'resnet18'"),
        ("whiten=true", ""),
        ("image_pca=0", "mean_shift is of principal components: it needs image_pca above 0"),
        ("mean_shift=-.1", "mean_shift = -0.1: must be at least 0"),
    ],
)
def test_parts_that_exclude_each_other(settings: str, says: str) -> None:
    if not says:
        assert load_recipe("cached", [settings]).whiten
        with pytest.raises(UsageError, match="whiten is of principal components"):
            load_recipe("compact", [settings])
        return
    with pytest.raises(UsageError, match=says):
        load_recipe("cached", [settings])


def test_more_components_than_features(cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe("cached", [*SMALL, "audio_pca=385"])
    with pytest.raises(InputError, match=r"audio_pca = 385: efficientat-mn04 has 384"):
        train(cache, recipe, tmp_path / "run", device="cpu")


def test_features_of_another_network_are_refused(cache: Cache, run: Path, tmp_path: Path) -> None:
    localizer = load_run(run, "cpu", weights=("random",))
    other = replace(localizer.record.features["audio"], weights="0123")
    localizer.record.features["audio"] = other  # type: ignore[index]
    with pytest.raises(InputError, match="are others than this run learnt from"):
        localizer.maps(cache, [0])
    with pytest.raises(MissingDependencyError, match=r"this run learnt from .* 0123"):
        localizer.embed_audio(np.zeros(32_000, np.int16), 32_000)


def test_weights_that_are_missing_are_told_before_work_and_at_once(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that learnt from files, which are gone."""
    tried: list[str] = []
    monkeypatch.setattr(
        "avpipe.pipeline.networks.threads.network_threads", lambda *how: tried.append("threads")
    )
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    features = json.loads((copy / "run.json").read_text())["features"]
    change_page(copy, features={name: {**one, "weights": "0123"} for name, one in features.items()})
    Image.new("RGB", (40, 30), (9, 99, 9)).save(tmp_path / "photo.png")
    write_tone(tmp_path / "sound.wav", 500)
    specs = [f"{name}={tmp_path}/gone.pt" for name in ("mobilenet-v2", "efficientat-mn04")]
    words = ["localize", str(tmp_path / "photo.png"), "--sound", str(tmp_path / "sound.wav")]
    words += ["--run", str(copy), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*words, *(w for spec in specs for w in ("--weights", spec))]) == 6
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "gone.pt" in told and not (tmp_path / "out").exists() and tried == []
    with pytest.raises(MissingDependencyError) as caught:
        load_run(copy, "cpu", weights=specs).load_teachers()
    assert "mobilenet" in str(caught.value) and "mn04" in str(caught.value)
    with pytest.raises(UsageError, match="this run has no detr-r50"):
        load_run(copy, "cpu", weights=["detr-r50=random"]).load_teachers()
    load_run(run, "cpu", weights=specs).load_teachers()  # of random weights nothing is looked for


def test_a_cache_without_the_features_is_told_the_command(run: Path, tmp_path: Path) -> None:
    bare = make_cache(tmp_path / "bare", 4)
    with pytest.raises(InputError, match="embed-teachers --visual mobilenet-v2-96"):
        load_run(run, "cpu").maps(bare, [0])


def test_an_export_holds_the_heads_and_names_the_teachers(run: Path, tmp_path: Path) -> None:
    files = export_run(run, tmp_path / "out")
    found = json.loads(files["description"].read_text())
    assert (found["image"]["teacher"], found["audio"]["teacher"]) == TEACHERS
    assert found["image"]["shape"] == [1280, 3, 3] and found["network"]["image_encoder"] == []
    assert "image_encoder.basis" in load_file(files["weights"])
    np.testing.assert_allclose(found["map"]["centres_px"], load_run(run, "cpu").centres_px)


def test_the_first_encoders_need_no_features() -> None:
    assert Recipe().image_teacher is None and Recipe().sound_teacher is None
