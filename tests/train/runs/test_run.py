import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.cache.schema import FULL_SCALE
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError, InputError, UsageError
from avpipe.stages.teachers.nets.windows import to_float
from avpipe.train import load_run
from avpipe.train.data.augment import evaluation_views
from avpipe.train.data.batches import Pick
from avpipe.train.data.clips import ClipReader, square
from avpipe.train.data.sources import open_source
from avpipe.train.loop import train
from avpipe.train.nets.model import Needs, build_model
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import latest_checkpoint, load_weights
from avpipe.train.runs.export import export_run
from avpipe.train.runs.intake import centre_window
from avpipe.train.runs.localizer import Localizer
from avpipe.train.runs.record import read_record
from avpipe.train.runs.sealed import DIGEST, seal
from cache_factory import make_cache, tone_of
from evaluation_factory import change_page

TINY = [
    "image_size=64", "image_resize=64", "width=16", "embed_dim=16", "batch_size=8", "epochs=3",
    "precision=fp32", "audio_pool=4", "spectrogram_mean=-10", "spectrogram_std=4", "lr=1e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 20)


@pytest.fixture(scope="module", params=["compact", "slavc"])
def run_dir(
    request: pytest.FixtureRequest, cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    torch.set_num_threads(1)
    settings = {"compact": ["ema=0.5"], "slavc": ["image_init=scratch", "visual_dropout=0.5"]}
    recipe = load_recipe(request.param, [*TINY, *settings[request.param]])
    folder = tmp_path_factory.mktemp("run") / request.param
    train(cache, recipe, folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def run(run_dir: Path) -> Localizer:
    return load_run(run_dir, device="cpu")


def test_maps_are_those_of_the_tested_weights(cache: Cache, run_dir: Path, run: Localizer) -> None:
    """By hand: the network of the named weights, one clip at a time."""
    found = latest_checkpoint(run_dir)
    assert found
    name = {"compact": "ema", "slavc": "momentum"}[run_dir.name]
    needs = Needs(heads={"compact": 1, "slavc": 2}[run_dir.name])
    network = build_model(run.recipe, needs, 99).eval()
    network.load_state_dict(
        {
            key.partition(".")[2]: value
            for key, value in load_weights(found[0]).items()
            if key.startswith(f"{name}.")
        }
    )
    reader = ClipReader(cache, cache.rows, square(64))
    source, _ = open_source(reader, "stream", torch.device("cpu"))
    maps = run.maps(cache, cache.rows, batch_size=7)
    for row in (0, 6, 7, 19):
        views = evaluation_views(
            next(source.batches([Pick.of(np.array([row]))])), run.recipe, torch.device("cpu")
        )
        with torch.inference_mode():
            visual, audio = network(views.frames, views.spectrograms)[:2]
        by_hand = sum(
            torch.einsum("dhw,d->hw", v[0], a[0]) for v, a in zip(visual, audio, strict=True)
        )
        np.testing.assert_allclose(maps[row], by_hand.numpy() / needs.heads, atol=1e-5)


def test_sounds_may_be_those_of_other_clips(cache: Cache, run: Localizer) -> None:
    swapped = np.roll(cache.rows, 1)
    maps = run.maps(cache, cache.rows, swapped, batch_size=6)
    own = run.maps(cache, cache.rows)
    assert maps.shape == own.shape == (20, *own.shape[1:])
    assert not np.allclose(maps, own, atol=1e-3)
    same = run.maps(cache, cache.rows, cache.rows, batch_size=3)
    np.testing.assert_allclose(same, own, atol=1e-5)
    assert np.abs(own).max() <= 1 + 1e-5


def test_localize_shows_the_map_of_the_cached_clip(cache: Cache, run: Localizer) -> None:
    clip = cache.clip("clip003")
    assert clip.waveform is not None
    localization_map = run.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
    assert localization_map.shape == (224, 224) and localization_map.dtype == np.float32
    expected = run.upsample(run.maps(cache, [3]))[0]
    assert np.corrcoef(localization_map.ravel(), expected.ravel())[0, 1] > 0.95
    wide = run.localize(
        clip.frame, clip.waveform, clip.waveform_rate_hz, size=(90, 160), geometry="corners"
    )
    assert wide.shape == (90, 160)


def test_embeddings_multiply_to_the_map(cache: Cache, run: Localizer) -> None:
    clip = cache.clip("clip003")
    assert clip.waveform is not None
    visual = run.embed_frame(clip.frame)
    audio = run.embed_audio(clip.waveform, clip.waveform_rate_hz)
    assert audio.ndim == 1 and visual.shape[0] == len(audio)
    assert np.linalg.norm(audio) == pytest.approx(1, abs=1e-5)
    product = np.einsum("dhw,d->hw", visual, audio)
    expected = run.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
    np.testing.assert_allclose(run.upsample(product[None])[0], expected, atol=1e-5)


def test_a_strided_image_of_any_contents_can_be_given(cache: Cache, run: Localizer) -> None:
    clip = cache.clip("clip003")
    sound = tone_of(3, 66150, 22050, np.random.default_rng(0))
    mirrored = run.localize(clip.frame[:, ::-1], sound, 22050)
    copied = run.localize(clip.frame[:, ::-1].copy(), sound, 22050)
    assert np.array_equal(mirrored, copied)


# Sound


def test_the_middle_of_the_sound_is_heard() -> None:
    sound = np.arange(5 * 22050, dtype=np.float32)
    window = centre_window(sound, 22050, "257x276")
    assert np.array_equal(window, np.arange(22050, 22050 + 66150))


def test_int16_is_scaled_and_short_sound_repeated() -> None:
    sound = np.array([0, 32767, -32767] * 1000, np.int16)
    window = centre_window(sound, 22050, "257x276")
    assert len(window) == 66150
    assert window[:3].tolist() == [0.0, 1.0, -1.0]
    assert np.array_equal(window[3000:6000], window[:3000])


def test_full_scale_is_one_number_that_the_cache_defines() -> None:
    sound = np.random.default_rng(3).integers(-32767, 32768, 100_000).astype(np.int16)
    as_heard = centre_window(sound, 32000, "257x276")
    as_float = centre_window(sound / np.float32(FULL_SCALE), 32000, "257x276")
    np.testing.assert_array_equal(as_heard, as_float)
    np.testing.assert_array_equal(to_float(sound), sound / np.float32(FULL_SCALE))
    root = Path(__file__).parents[3]
    named = [
        f"{path.relative_to(root)}: {line.strip()}"
        for folder in ("cache", "pipeline", "stages", "train")
        for path in (root / folder).rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"[*/=] *(np\.float32\()?3276[78]", line)
    ]
    assert named == [f"cache/schema.py: FULL_SCALE = {FULL_SCALE}"]


def test_another_rate_is_resampled() -> None:
    rng = np.random.default_rng(0)
    at_48k = tone_of(0, 4 * 48000, 48000, rng)
    window = centre_window(at_48k, 48000, "257x276")
    spectrum = np.abs(np.fft.rfft(window))
    assert spectrum.argmax() == pytest.approx(300 * 3, abs=1)


@pytest.mark.parametrize("shape", [(0,), (2, 100)])
def test_sound_must_be_mono_and_there(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="mono"):
        centre_window(np.zeros(shape, np.float32), 22050, "257x276")


# Errors


def test_no_run_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="avpipe train"):
        load_run(tmp_path / "nowhere")


def test_a_run_without_a_checkpoint(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((run_dir / "run.json").read_bytes())
    with pytest.raises(InputError, match="no checkpoint"):
        load_run(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "list", "unknown", "missing"])
def test_a_damaged_page(run_dir: Path, tmp_path: Path, damage: str) -> None:
    text = (run_dir / "run.json").read_text()
    record = json.loads(text)
    record.pop("seed")
    bad = {
        "cut": text[:100],
        "list": "[]",
        "unknown": text.replace('"lr"', '"lrr"'),
        "missing": json.dumps(record),
    }
    (tmp_path / "run.json").write_text(bad[damage])
    with pytest.raises(CacheCorruptError, match=r"run\.json is damaged") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_page_of_another_network_is_one_line(run_dir: Path, tmp_path: Path) -> None:
    """Pages of older versions have no digest."""
    shutil.copytree(run_dir, tmp_path / "run")
    recipe = json.loads((run_dir / "run.json").read_text())["recipe"]
    change_page(tmp_path / "run", recipe={**recipe, "width": 17})
    record = json.loads((tmp_path / "run/run.json").read_text())
    del record["sha256"]
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    for act in (load_run, lambda run: export_run(run, tmp_path / "out")):
        with pytest.raises(CacheCorruptError, match=r"run\.json is damaged: its recipe") as caught:
            act(tmp_path / "run")
        assert "\n" not in str(caught.value)


def test_another_spectrogram_without_sound_is_refused(run: Localizer, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other", 2, kind="257x300")
    (tmp_path / "other/audio/DROPPED").touch()
    with pytest.raises(InputError, match=r"257x300.*257x276"):
        run.maps(other, other.rows)


def test_an_absent_device_is_a_usage_error(run_dir: Path) -> None:
    for name in ("tpu9", "cuda:77"):
        with pytest.raises(UsageError, match=name):
            load_run(run_dir, device=name)


def test_another_branch_may_be_opened(cache: Cache, run_dir: Path, run: Localizer) -> None:
    tested = {"compact": "ema", "slavc": "momentum"}[run_dir.name]
    named = load_run(run_dir, "cpu", tested).maps(cache, [3])
    assert np.array_equal(named, run.maps(cache, [3]))
    assert not np.allclose(load_run(run_dir, "cpu", "online").maps(cache, [3]), named, atol=1e-4)
    absent = {"compact": "momentum", "slavc": "ema"}[run_dir.name]
    for name in (absent, "heads", "nothing"):
        with pytest.raises(UsageError, match=f"has no '{name}' weights; it has .*{tested}"):
            load_run(run_dir, "cpu", name)


def test_older_runs_keep_drawing_the_nearest_sound_half_of_the_time(
    run_dir: Path, tmp_path: Path
) -> None:
    values = json.loads((run_dir / "run.json").read_text())
    del values["recipe"]["nearest_share"], values[DIGEST]
    for partners, share in (("own", 1.0), ("nearest", 0.5), ("both", 0.5)):
        values["recipe"]["partners"] = partners
        (tmp_path / "run.json").write_text(json.dumps(seal(values)))
        assert read_record(tmp_path).recipe.nearest_share == share
