"""Silence and noise as negatives: the loss against loops, the flags, what is learnt."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import UsageError
from avpipe.stages.embed.run import embed
from avpipe.stages.spectrogram import FRONT_ENDS, log_spectrogram
from avpipe.train import load_run, losses
from avpipe.train.data.bank import made_bank
from avpipe.train.loop import train
from avpipe.train.negatives.made import Made
from avpipe.train.nets.model import Needs, build_model, without_made
from avpipe.train.recipe import Recipe, load_recipe
from avpipe.train.runs.metric_lines import read_lines
from cache_factory import make_cache
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = [
    "width=16", "batch_size=8", "epochs=1", "audio_pool=8", "image_size=40", "image_resize=48",
    "embed_dim=16", "precision=fp32", "image_init=scratch",
]  # fmt: skip


def small(*settings: str) -> Recipe:
    return load_recipe("silence", [*SMALL, *settings])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 16)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(0, 3), st.sampled_from(["max", "mean"]), st.integers(0, 9))
def test_the_loss_is_that_of_a_loop(num: int, beside: int, pooling: Any, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    visual = F.normalize(torch.randn(num, 5, 2, 2, generator=rng), dim=1)
    audio, others = (F.normalize(torch.randn(n, 5, generator=rng), dim=1) for n in (num, beside))
    found = losses.ez_vsl(visual, audio, temperature=0.1, pooling=pooling, others=others)

    def score(image: int, sound: torch.Tensor) -> float:
        cells = [float(visual[image, :, y, x] @ sound) / 0.1 for y in (0, 1) for x in (0, 1)]
        return max(cells) if pooling == "max" else sum(cells) / 4

    forward = backward = 0.0
    for n in range(num):
        own = [score(n, sound) for sound in [*audio, *others]]
        forward -= own[n] - math.log(sum(math.exp(value) for value in own))
        images = [score(image, audio[n]) for image in range(num)]
        backward -= images[n] - math.log(sum(math.exp(value) for value in images))
    assert float(found["image_to_audio"]) == pytest.approx(forward / num, abs=1e-4)
    assert float(found["audio_to_image"]) == pytest.approx(backward / num, abs=1e-4)


def test_made_sounds_are_parted_from_the_batchs() -> None:
    model = build_model(load_recipe("ez-vsl", SMALL), Needs(pooled=True), 0).eval()
    frames, sounds = torch.randn(3, 3, 40, 40), torch.randn(5, 1, 32, 34)
    whole = model(frames, sounds)
    own, made = without_made(whole, 2)
    alone = model(frames, sounds[:3])
    for one, other in zip(own, alone, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(made[0], whole.audio[0][3:])
    assert without_made(whole, 0) == (whole, ())


def test_the_bank_holds_what_localizers_hear() -> None:
    recipe = small("objective.noises=3")
    model = build_model(recipe, Needs(), 0)
    bank = made_bank(recipe, ("silence", "noise"), model, (), torch.device("cpu"))
    assert bank is not None
    front_end = FRONT_ENDS[recipe.spectrogram]
    (noise,) = Made("noise").sounds(["training 5"], front_end.window_samples)
    wanted = F.avg_pool2d(torch.from_numpy(log_spectrogram(noise))[None], 8) / 12
    torch.testing.assert_close(bank.noise[5], wanted)
    assert (
        float(bank.silence.min())
        == float(bank.silence.max())
        == pytest.approx(-16.118 / 12, abs=1e-4)
    )
    drawn = bank.draw(np.random.default_rng(0))
    assert drawn.shape == (4, *wanted.shape) and torch.equal(drawn[0], bank.silence[0])
    for names, num in ((("silence",), 1), (("noise",), 3)):
        part = made_bank(recipe, names, model, (), torch.device("cpu"))
        assert part is not None and len(part.draw(np.random.default_rng(0))) == num
    assert made_bank(recipe, (), model, (), torch.device("cpu")) is None


def losses_of(cache: Cache, folder: Path, recipe: Recipe) -> list[float]:
    train(cache, recipe, folder, device="cpu")
    return [line["image_to_audio"] for line in read_lines(folder / "metrics.jsonl")]


def test_without_both_it_is_ez_vsl(cache: Cache, tmp_path: Path) -> None:
    neither = small("objective.silence=false", "objective.noise=false")
    plain = load_recipe("ez-vsl", SMALL)
    own = losses_of(cache, tmp_path / "a", neither)
    assert own == losses_of(cache, tmp_path / "b", plain)
    found = {
        name: losses_of(cache, tmp_path / name, small(f"objective.{name}=false"))
        for name in ("silence", "noise")
    }
    both = losses_of(cache, tmp_path / "c", small())
    assert (
        own[0] < min(found["silence"][0], found["noise"][0])
        and len({*map(tuple, found.values()), tuple(both)}) == 3
    )


@pytest.mark.parametrize("extra", [["momentum=0.9", "test_weights=momentum"], ["views=augmented"]])
def test_it_goes_with_momentum_and_views(cache: Cache, tmp_path: Path, extra: list[str]) -> None:
    assert np.isfinite(losses_of(cache, tmp_path / "run", small(*extra))).all()


def test_noise_is_drawn_by_the_seed_alone(cache: Cache, tmp_path: Path) -> None:
    whole = losses_of(cache, tmp_path / "whole", small())
    assert whole == losses_of(cache, tmp_path / "again", small())


def test_maps_fall_silent(cache: Cache, tmp_path: Path) -> None:
    """Trained with it, silence is further from every cell than it is for EZ-VSL."""
    tops = {}
    for name in ("ez-vsl", "silence"):
        recipe = load_recipe(name, [*SMALL, "epochs=8", "lr=3e-3"])
        train(cache, recipe, tmp_path / name, device="cpu")
        run = load_run(tmp_path / name, "cpu")
        for made in (Made("silence"), Made("noise")):
            maps = run.maps_with(cache, cache.rows, cache.ids, made)
            tops[name, made.name] = float(maps.max((1, 2)).mean())
    for made in ("silence", "noise"):
        assert tops["silence", made] < tops["ez-vsl", made] - 0.1, tops


def test_cached_features_too(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "avcache", 12)
    embed(cache, "hints", ("mobilenet-v2-96", "efficientat-mn04"), specs=("random",), device="cpu")
    recipe = load_recipe("cached", [
        "objective=silence", "image_encoder=cached:mobilenet-v2-96", "image_pca=8", "embed_dim=8",
        "batch_size=6", "epochs=1", "precision=fp32",
    ])  # fmt: skip
    assert np.isfinite(losses_of(Cache(cache.path), tmp_path / "run", recipe)).all()


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected true or false"):
        small("objective.silence=1")
    with pytest.raises(UsageError, match="between 1 and 64"):
        small("objective.noises=65")
