"""Spectrograms computed from the cache's sound are those that `extract` would have stored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soxr
import torch
from avpipe.cache.manifest import Manifest
from avpipe.cache.segment import Line
from avpipe.cache.store import Cache
from avpipe.stages import features
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams, Row
from avpipe.stages.media import Clip
from avpipe.stages.spectrogram import FRONT_ENDS, log_spectrogram
from avpipe.train import load_run
from avpipe.train.data import sources
from avpipe.train.data.batches import Pick
from avpipe.train.data.clips import ClipReader, square
from avpipe.train.data.sources import open_source
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe

CPU = torch.device("cpu")
RATE_HZ = 32_000
CLIPS = {  # length of the sound, when it begins, the moment
    "middle": (9.0, 0.0, 4.5),
    "late": (6.0, 0.02, 5.5),
    "early": (5.0, -0.5, 0.1),
    "short": (1.3, 0.0, 0.6),
    "long": (14.0, 0.0, 7.0),
}


def drawn(name: str) -> Clip:
    """Noise that falls with frequency, at the rate that the cache keeps."""
    length, start_s, time_s = CLIPS[name]
    rng = np.random.default_rng(list(CLIPS).index(name))
    noise = np.cumsum(rng.standard_normal(round(length * RATE_HZ)))
    sound = scipy.signal.lfilter([1, -1], [1, -0.95], noise).astype(np.float32)
    frame = rng.integers(0, 256, (256, 340, 3)).astype(np.uint8)
    return Clip(frame, sound * 0.05, RATE_HZ, start_s, time_s, time_s, length)


class Drawn:
    """Stands in for the decoder."""

    def __init__(self, kind: str) -> None:
        self.params = FeatureParams(spectrogram=kind)

    def row(self, line: Mapping[str, Any]) -> Row:
        return features.make_row(line["id"], params=self.params)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cache]:
    """The same clips with each front-end's spectrograms."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "decode_clip", lambda path, **settings: drawn(path))
        for kind in FRONT_ENDS:
            folder = tmp_path_factory.mktemp(kind)
            lines = [Line(id=name, root=0, path=f"{name}.mp4", bytes=1) for name in CLIPS]
            roots = [{"path": str(folder), "device": folder.stat().st_dev}]
            assert Manifest(folder).publish(lines, len(lines), roots, shard_clips=4)
            for shard in range(Manifest(folder).num_shards):
                plan = Manifest(folder).plan(shard)
                task = ExtractTask(folder, plan, FeatureParams(spectrogram=kind), {})
                extract_shard(task, Drawn(kind))
            made[kind] = Cache(folder)
    return made


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_what_is_computed_is_what_extract_stores(caches: dict[str, Cache], kind: str) -> None:
    other = "257x276" if kind != "257x276" else "16k-257x299"
    cache, stored = caches[other], caches[kind]
    computed = ClipReader(cache, cache.rows, square(40), kind=kind)
    expected = ClipReader(stored, stored.rows, square(40))
    assert computed.spectrogram_shape == expected.spectrogram_shape
    assert np.abs(computed.valid_cols - expected.valid_cols).max() <= 1
    picks = [Pick.of(np.arange(len(cache)))]
    for mode in ("stream", "resident"):
        one, two = (
            next(open_source(reader, mode, CPU)[0].batches(picks))
            for reader in (computed, expected)
        )
        assert one.spectrograms.dtype == torch.float16
        front_end = FRONT_ENDS[kind]
        centre = slice(front_end.margin, front_end.margin + front_end.num_columns)
        for i, name in enumerate(cache.ids):
            if front_end.window_s > 3 and name in ("late", "early"):
                continue  # the 10 s around them that are kept are not all of their sound
            differ = (one.spectrograms[i, :200, centre] - two.spectrograms[i, :200, centre]).abs()
            assert differ.float().mean() < 0.02, (mode, name)


@pytest.mark.parametrize("kind", ["257x276", "16k-257x671"])
def test_the_centre_is_scipys_spectrogram_of_the_cached_sound(
    caches: dict[str, Cache], kind: str
) -> None:
    """By hand: the sound around the frame, moved into the sound there is, or repeated."""
    cache = caches["16k-257x299"]
    front_end = FRONT_ENDS[kind]
    reader = ClipReader(cache, cache.rows, square(40), kind=kind)
    for position, name in enumerate(cache.ids):
        target = np.zeros(reader.spectrogram_shape, np.float16)
        reader.read_sound(target, *reader.locate(position, reader.sound_stage))
        clip = cache.clip(name)
        assert clip.waveform is not None and clip.frame_sample is not None
        sound, length = clip.waveform / np.float32(32767), round(front_end.window_s * RATE_HZ)
        if len(sound) < length:
            heard = soxr.resample(sound, RATE_HZ, front_end.rate_hz, quality="HQ")
            heard = np.resize(heard, front_end.window_samples)
        else:
            start = min(max(clip.frame_sample - length // 2, 0), len(sound) - length)
            around = sound[max(0, start - 3200) : start + length + 3200]
            heard = soxr.resample(around, RATE_HZ, front_end.rate_hz, quality="HQ")
            skipped = round(min(start, 3200) * front_end.rate_hz / RATE_HZ)
            heard = heard[skipped : skipped + front_end.window_samples]
        hop = 512 - front_end.hop
        power = scipy.signal.spectrogram(heard, front_end.rate_hz, nperseg=512, noverlap=hop)[2]
        centre = target[:, front_end.margin : front_end.margin + front_end.num_columns]
        differ = np.abs(centre - np.log(power[:, : centre.shape[1]] + 1e-7))
        assert np.median(differ) < 0.02 and differ[:200].mean() < 0.05, name


def test_a_run_hears_its_own_front_end_from_any_cache(
    caches: dict[str, Cache], tmp_path: Path
) -> None:
    settings = "width=16 embed_dim=16 image_size=64 image_resize=64 batch_size=4 epochs=1"
    recipe = load_recipe("compact", [*settings.split(), "spectrogram=16k-257x200"])
    train(caches["257x276"], recipe, tmp_path / "run", device="cpu", val_ids=["early", "late"])
    run = load_run(tmp_path / "run", "cpu")
    own, other = caches["16k-257x200"], caches["257x276"]
    expected = run.maps(own, own.rows)
    np.testing.assert_allclose(run.maps(other, other.rows), expected, atol=0.02)
    assert np.abs(expected - np.roll(expected, 1, axis=0)).max() > 0.1
    clip = other.clip("middle")
    assert clip.waveform is not None
    shown = run.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
    np.testing.assert_allclose(shown, run.upsample(expected[:1])[0], atol=0.02)


def test_memory_is_told_for_what_is_computed(caches: dict[str, Cache]) -> None:
    cache = caches["257x276"]
    reader = ClipReader(cache, cache.rows, square(40), kind="16k-257x671")
    assert sources.resident_bytes(reader)["spectrograms"] == len(CLIPS) * 257 * 671 * 2
    assert log_spectrogram(np.zeros(160_000), "16k-257x671").shape == (257, 671)
