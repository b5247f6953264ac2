"""Two sounds at once, and annotations that a protocol reads otherwise, through `evaluate`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.cache.state import drop_stage
from avpipe.cache.store import Cache
from avpipe.errors import InputError
from avpipe.pipeline.main import main
from avpipe.train import load_run
from avpipe.train.benchmarks import Pair, load_benchmark, mixture
from avpipe.train.data.mixed import mixed_sound
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.score.maps import stored_maps
from benchmark_factory import write_listed
from cache_factory import make_cache
from evaluation_factory import TINY, write_lines, write_vggss


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 12)


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    recipe = load_recipe("compact", [*TINY, "epochs=1"])
    train(cache, recipe, folder, ids=cache.ids[:8], device="cpu")
    return folder


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


def test_a_mixture_is_the_sum_around_the_frames_times(cache: Cache) -> None:
    sounds = [cache.clip(f"clip00{number}").waveform for number in (1, 2)]
    assert sounds[0] is not None and sounds[1] is not None
    found, _ = mixed_sound(cache, cache.row_of("clip001"), cache.row_of("clip002"))
    expected = sounds[0].astype(np.float64) / 32767 + sounds[1].astype(np.float64) / 32767
    np.testing.assert_allclose(found, expected, atol=1e-6)  # both have their frame in the middle


def test_maps_of_a_mixture_are_those_of_the_sum(cache: Cache, run: Path) -> None:
    """Stored maps of mixtures and of single sounds, in any order, against the network alone."""
    pairs = [
        Pair("clip003", mixture("clip001", "clip002")),
        Pair("clip001", "clip001"),
        Pair("clip001", mixture("clip001", "clip002")),
    ]
    localizer = load_run(run, "cpu")
    stored = stored_maps(run, "some", pairs, cache, lambda _: localizer)
    alone = stored_maps(run, "others", pairs[1:2], cache, lambda _: localizer)
    np.testing.assert_allclose(stored.cells(pairs[1:2]), alone.cells(pairs[1:2]), atol=1e-6)
    mixed, _ = mixed_sound(cache, cache.row_of("clip001"), cache.row_of("clip002"))
    sound = localizer.embed_audio(mixed, 32_000)
    for pair in (pairs[0], pairs[2]):
        cells = localizer.embed_frame(cache.clip(pair.video).frame)
        expected = np.einsum("dhw,d->hw", cells, sound)
        np.testing.assert_allclose(stored.cells([pair])[0], expected, atol=1e-5)
    assert stored_maps(run, "some", pairs, cache, lambda _: localizer).reused
    other = [Pair("clip003", mixture("clip001", "clip004")), *pairs[1:]]
    assert not stored_maps(run, "some", other, cache, lambda _: localizer).reused


class OffCentre:
    """A cache whose clips have their frames elsewhere than in the middle of their sounds."""

    def __init__(self, path: Path, sounds: list[np.ndarray], frames: list[int]) -> None:
        self.path = path
        self._columns = {"audio/waveform": sounds, "audio/frame_sample": frames}

    def column(self, name: str) -> list:
        return self._columns[name]


def test_a_mixture_is_heard_around_the_frames_times(cache: Cache, run: Path) -> None:
    """Clips cut at a video's ends; the window is moved into what both have, as of one sound."""
    rng = np.random.default_rng(0)
    sounds = [rng.integers(-9000, 9000, 32_000 * 10).astype(np.int16) for _ in range(2)]
    localizer = load_run(run, "cpu")
    window = 3 * 32_000
    for frames, start in (([32_000 * 2, 32_000 * 7], 16_000), ([8_000, 32_000 * 6], 0)):
        sound, at = mixed_sound(OffCentre(cache.path, sounds, frames), 0, 1)  # type: ignore[arg-type]
        assert at == min(frames) and len(sound) == at + 10 * 32_000 - max(frames)
        expected = sum(
            one[frame - at :][: len(sound)] / 32767
            for one, frame in zip(sounds, frames, strict=True)
        )
        np.testing.assert_allclose(sound, expected, atol=1e-6)
        heard = localizer._intake.loud_sound(sound, at)
        alone = localizer._intake.sound(sound[start : start + window], 32_000)
        assert torch.equal(heard, alone)
        elsewhere = localizer._intake.sound(sound, 32_000)
        assert not torch.allclose(heard, elsewhere)
    short = sound[:20_000]
    tiled = localizer._intake.loud_sound(short, 100)
    assert torch.equal(tiled, localizer._intake.sound(short, 32_000))


def test_duets_are_scored(
    cache: Cache, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_vggss(tmp_path, cache.ids[8:])
    duets = ["clip008,a,clip011,b", "clip009,a,clip010,b"]
    write_lines(tmp_path / "vggsound_duet_test.csv", duets)
    command = [
        "evaluate", str(run), "--cache", str(cache.path), "--benchmark", "vggsound-duet",
        "--annotations", str(tmp_path), "--device", "cpu",
    ]  # fmt: skip
    assert main([*command, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert (entry["n_scored"], entry["n_official"]) == (4, 4)
    assert {"cap", "piap", "joint_30", "joint_50", "joint_auc"} <= set(entry["scores"]["av"])
    assert 0 <= entry["scores"]["av"]["piap"] <= 1 and entry["leaked"] == []
    assert main([*command, "--protocol", "avgn"]) == 0
    table = capsys.readouterr().out
    assert "vggsound-duet, protocol avgn" in table and "CIoU@.3" in table and "PIAP" in table


def test_duets_have_negatives_and_intervals(
    cache: Cache, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A borrowed sound is another duet's mixture; a duet is drawn with both its pictures."""
    write_vggss(tmp_path, cache.ids[8:])
    duets = ["clip008,a,clip009,b", "clip010,a,clip011,b"]
    write_lines(tmp_path / "vggsound_duet_test.csv", duets)
    command = [
        "evaluate", str(run), "--cache", str(cache.path), "--benchmark", "vggsound-duet",
        "--annotations", str(tmp_path), "--negatives", "silence,offscreen", "--bootstrap", "5",
        "--json",
    ]  # fmt: skip
    code = main(command)
    said = capsys.readouterr()
    assert code == 0, said.err
    (found,) = json.loads(said.out)["runs"]
    assert found["n_scored"] == 4
    assert {"silence", "offscreen"} <= found["negatives"]["q3"].keys()
    low, high = found["intervals"]["ciou_mean"]
    assert 0 <= low <= high <= 1


def test_annotations_are_read_as_the_protocol_reads_them(
    cache: Cache, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        {"file": name, "class": "cello", "bbox": [0.25, 0.25, 0.5, 0.125]} for name in cache.ids[8:]
    ]
    (tmp_path / "music_solo.json").write_text(json.dumps(entries))
    told = {}
    for name in ("avpipe", "avgn"):
        command = [
            "evaluate", str(run), "--cache", str(cache.path), "--benchmark", "music-solo-avgn",
            "--annotations", str(tmp_path), "--protocol", name, "--device", "cpu",
        ]  # fmt: skip
        assert main(command) == 0
        told[name] = capsys.readouterr().out
    assert "read as corners, as protocol avgn does, 4 of 4 have no area" in told["avpipe"]
    assert "read as corners, as AVGN's code does: 4 of 4 have no area" in told["avgn"]


@pytest.mark.parametrize("name", ["is3", "avsbench-ms3"])
def test_the_batch_is_stamped_and_extra_scores_are_in_the_table(
    name: str, cache: Cache, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = {"is3": "synthetic3240_bbox.json", "avsbench-ms3": "ms3_box.json"}[name]
    write_listed(tmp_path / file, {clip: [10, 10, 200, 200] for clip in cache.ids[8:]})
    command = [
        "evaluate", str(run), "--cache", str(cache.path), "--benchmark", name,
        "--annotations", str(tmp_path), "--protocol", "avsbench", "--device", "cpu",
    ]  # fmt: skip
    assert main([*command, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert entry["protocol_fields"]["f_batch"] == 1
    assert main(command) == 0
    heading = {"is3": "IIoU", "avsbench-ms3": "mIoU"}[name]
    assert heading in capsys.readouterr().out


def test_mixtures_need_the_sound(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 2)
    drop_stage(cache.path, "audio")
    with pytest.raises(InputError, match="mixtures need the sound, which was dropped"):
        mixed_sound(Cache(cache.path), 0, 1)
    write_vggss(tmp_path, cache.ids)
    write_lines(tmp_path / "vggsound_duet_test.csv", ["clip000,a,clip001,b"])
    assert load_benchmark("vggsound-duet", tmp_path).num_official == 2
