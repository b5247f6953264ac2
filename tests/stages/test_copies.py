"""Copies that were encoded again, cut by a pixel and renamed are found, and nothing else is."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.manifest import Manifest
from avpipe.cache.segment import Line
from avpipe.cache.store import Cache
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams, Row, make_row
from avpipe.stages.neighbors.copies import (
    FRAME_ALIKE,
    SOUND_ALIKE,
    Prints,
    find_copies,
    frame_print,
    prints_of,
    sound_print,
)
from hypothesis import given
from hypothesis import strategies as st
from media_factory import run_ffmpeg, write_wav
from numpy.typing import NDArray
from PIL import Image

NUM = 5
MATERIAL = Path(__file__).parents[3] / "shared/real/material"


def drawn(seed: int, side: int = 8) -> Image.Image:
    """Smooth coloured fields, another for each seed."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
    return Image.fromarray(cells).resize((320, 256), Image.Resampling.BICUBIC)


def played(seed: int) -> NDArray[np.float32]:
    """Four seconds of twelve tones that come and go, in faint noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(4 * 44_100) / 44_100
    found = 0.01 * rng.standard_normal(len(times))
    for tone_hz in rng.uniform(200, 9000, 12):
        swell = np.repeat(rng.uniform(0, 0.08, 20), len(times) // 20)
        found += swell * np.sin(2 * np.pi * tone_hz * times)
    return found.astype(np.float32)


def write(path: Path, seed: int, *options: str) -> None:
    """Write a film of one picture and a sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = write_wav(path.with_suffix(".wav"), played(seed)[None], 44_100)
    png = io.BytesIO()
    drawn(seed).save(png, "PNG")
    run_ffmpeg("-loop", "1", "-framerate", "5", "-f", "png_pipe", "-i", "-", "-i", wav, "-t", "4",
               *options, "-pix_fmt", "yuv420p", f"file:{path}", stdin=png.getvalue())  # fmt: skip
    wav.unlink()


class Films:
    """Decodes in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def row(self, line: Mapping[str, Any]) -> Row:
        return make_row(str(self.folder / line["path"]))


def cached(folder: Path, films: Path) -> Cache:
    folder.mkdir()
    names = sorted(path.name for path in films.glob("*.mp4"))
    lines = [Line(id=name[:-4], root=0, path=name, bytes=1) for name in names]
    roots = [{"path": str(films), "device": films.stat().st_dev}]
    assert Manifest(folder).publish(lines, len(lines), roots, shard_clips=16)
    for shard in range(Manifest(folder).num_shards):
        task = ExtractTask(folder, Manifest(folder).plan(shard), FeatureParams(), {})
        extract_shard(task, Films(films))
    return Cache(folder)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, Cache]:
    """Test clips a0 to a4; training clips b0, b1, ...: copies of a0 to a2, and others."""
    folder = tmp_path_factory.mktemp("films")
    crop = ("-vf", "crop=iw-2:ih-2:1:1,scale=238:190", "-crf", "34", "-b:a", "80k", "-ar", "32000")
    for seed in range(NUM):
        write(folder / f"test/a{seed}.mp4", seed)
    for seed in (0, 1, 2, 20, 21, 22):
        write(folder / f"training/b{seed}.mp4", seed, *(crop if seed < 20 else ()))
    return cached(folder / "one", folder / "test"), cached(folder / "two", folder / "training")


def test_copies_are_found_by_picture_and_by_sound(caches: tuple[Cache, Cache]) -> None:
    test, training = (prints_of(cache, cache.ids) for cache in caches)
    found = find_copies(test, training)
    assert [(copy.test, copy.training) for copy in found] == [(f"a{i}", f"b{i}") for i in range(3)]
    for copy in found:
        assert copy.frame >= FRAME_ALIKE and copy.sound >= SOUND_ALIKE
    for frames, sounds in ((FRAME_ALIKE, 2.0), (2.0, SOUND_ALIKE)):  # by one of them alone
        alone = find_copies(test, training, frame_alike=frames, sound_alike=sounds)
        assert [copy.test for copy in alone] == ["a0", "a1", "a2"]


def test_a_clip_is_no_copy_of_itself(caches: tuple[Cache, Cache]) -> None:
    test = prints_of(caches[0], caches[0].ids)
    assert find_copies(test, test) == []


def test_unrelated_clips_are_not_suspected() -> None:
    """Of 4,950 pairs of drawn pictures and of sounds none; of real ones see the next test."""
    frames = np.stack([frame_print(drawn(seed)) for seed in range(100, 200)])
    cosines = (frames @ frames.T)[np.triu_indices(100, 1)]
    assert (cosines >= FRAME_ALIKE).sum() == 0


def test_real_photographs_are_told_apart() -> None:
    """At most one false alarm in 10,000 pairs, and copies of 1 px less are all found."""
    if not MATERIAL.is_dir():
        pytest.skip("no ../shared/real/material beside the checkout")
    prints, copies = [], []
    for path in sorted((MATERIAL / "photos").rglob("*.webp"))[::12][:60]:
        picture = Image.open(path).convert("RGB")
        scale = 256 / min(picture.size)  # as frames are stored
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        prints.append(frame_print(picture))
        less = picture.crop((1, 1, picture.width - 1, picture.height - 1))
        data = io.BytesIO()
        less.save(data, "JPEG", quality=40)
        copies.append(frame_print(Image.open(data)))
    own, others = np.stack(prints), np.stack(copies)
    assert len(own) >= 40 and ((own * others).sum(1) >= FRAME_ALIKE).all()
    cosines = (own @ own.T)[np.triu_indices(len(own), 1)]
    assert (cosines >= FRAME_ALIKE).sum() <= len(cosines) / 10_000


def test_what_is_plain_is_not_known_again() -> None:
    grey = Image.new("RGB", (64, 64), (90, 90, 90))
    assert not frame_print(grey).any()
    for window in (np.full((257, 276), -16.118), np.tile(np.arange(257.0)[:, None], 276)):
        assert not sound_print(window).any()
    broken = np.random.default_rng(0).normal(size=(257, 276))
    broken[0, 0] = np.nan
    assert not sound_print(broken).any()
    plain = Prints(("x",), np.zeros((1, 1728), np.float32), np.zeros((1, 1472), np.float32), "k")
    assert find_copies(plain, plain) == [] == find_copies(plain, Prints(
        ("y",), plain.frames, plain.sounds, "other"))  # fmt: skip


def test_sounds_of_other_front_ends_are_not_compared(caches: tuple[Cache, Cache]) -> None:
    test, training = (prints_of(cache, cache.ids) for cache in caches)
    other = Prints(training.ids, training.frames, training.sounds[:, :100], "16k-mel64")
    found = find_copies(test, other)
    assert [copy.test for copy in found] == ["a0", "a1", "a2"]
    assert all(copy.sound == 0 for copy in found)


@given(st.integers(0, 50), st.floats(0.2, 5))
def test_a_print_does_not_know_loudness_or_hue(seed: int, gain: float) -> None:
    """What is added everywhere, to a band or to a moment, changes nothing."""
    rng = np.random.default_rng(seed)
    window = rng.normal(size=(64, 201))
    louder = window + gain + rng.normal(size=(64, 1)) + rng.normal(size=(1, 201))
    np.testing.assert_allclose(sound_print(window), sound_print(louder), atol=2e-3)
    assert np.linalg.norm(sound_print(window)) == pytest.approx(1, abs=1e-5)
