"""Teachers over shards: resume, refusals, and values that do not depend on how the run went."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import AUDIO, EXTRACT, shard_path
from avpipe.cache.segment import Line
from avpipe.cache.shard import read_header
from avpipe.cache.state import drop_stage
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.cache.writer import write_shard
from avpipe.devices import usable_device
from avpipe.errors import (
    CacheCorruptError,
    CacheUnwritableError,
    ClipError,
    InputError,
    MissingDependencyError,
    Reason,
    UsageError,
)
from avpipe.stages.embed import todo
from avpipe.stages.embed.read import ahead
from avpipe.stages.embed.run import build_network, embed
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams, Row, encode_jpeg
from avpipe.stages.teachers.protocol import load_teacher
from avpipe.weights import Weights
from cache_factory import frame_of, tone_of
from numpy.typing import NDArray

NUM_CLIPS, SHARD_CLIPS = 22, 6
FAILED = {2, 3, 12, 13, 14, 15, 16, 17}
"""Shard 2 (clips 12 to 17) has no finished clip at all."""

DONE = [i for i in range(NUM_CLIPS) if i not in FAILED]


class SomeFail:
    """Stands in for the decoder; draws a clip's frame and sound, and fails where told."""

    def __init__(self, frame_hw: tuple[int, int]) -> None:
        self.frame_hw = frame_hw

    def row(self, line: Mapping[str, Any]) -> Row:
        number = int(line["id"][-3:])
        if number in FAILED:
            raise ClipError(Reason.NO_AUDIO)
        rng = np.random.default_rng(number)
        height, width = self.frame_hw[0], self.frame_hw[1] + number
        return Row(
            frame_jpeg=encode_jpeg(frame_of(number % 4, height, width, rng)),
            frame_hw=(height, width),
            spectrogram_wide=np.zeros((257, 462), np.float16),
            valid_cols=(0, 462),
            frame_pts_s=2.0,
            duration_s=4.0,
            silent=False,
            short=False,
            waveform=(tone_of(number % 4, 128_000, 32_000, rng) * 32767).astype(np.int16),
            frame_sample=64_000,
        )


def extract(folder: Path, shard: int, frame_hw: tuple[int, int] = (40, 50)) -> None:
    task = ExtractTask(folder, Manifest(folder).plan(shard), FeatureParams(), {})
    extract_shard(task, SomeFail(frame_hw))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embed") / "cache"
    folder.mkdir()
    lines = [
        Line(id=f"clip{i:03d}", root=0, path=f"{i}.mp4", source="", bytes=1, label=f"class{i % 4}")
        for i in range(NUM_CLIPS)
    ]
    roots = [{"path": str(folder), "device": folder.stat().st_dev}]
    assert Manifest(folder).publish(lines, len(lines), roots, shard_clips=SHARD_CLIPS)
    for shard in range(4):
        extract(folder, shard)
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "cache")
    return tmp_path / "cache"


class ToyTeacher(SimpleNamespace):
    """Sums over a clip; `batches` notes the sizes it was given, `stop_after` ends a run."""

    def __init__(self, reads: str) -> None:
        super().__init__(
            VERSION=1,
            READS=reads,
            COLUMNS={"value": ("<f4", (2,)), "rank": ("<i2", ())},
            PARAMS={"size": 8},
            FILES=(),
            prepare=self._prepare,
            build=self._build,
            batches=[],
            stop_after=10**6,
        )

    def _prepare(self, given: NDArray[Any], frame_sample: int = 0) -> NDArray[np.float64]:
        return np.array([given.astype(np.float64).sum(), frame_sample])

    def _build(self, weights: Weights, device: str) -> Any:
        def network(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
            if len(self.batches) >= self.stop_after:
                raise KeyboardInterrupt
            self.batches.append(len(batch))
            return {"value": batch, "rank": np.arange(len(batch))}

        return network


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> dict[str, ToyTeacher]:
    made = {"sees": ToyTeacher("frame"), "hears": ToyTeacher("waveform")}
    monkeypatch.setattr(todo, "load_teacher", lambda name, kind: made[name])
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


@pytest.mark.parametrize("done_before", [False, True])
def test_sounds_of_another_decode_pass_are_refused(
    folder: Path,
    toys: dict[str, ToyTeacher],
    tmp_path: Path,
    done_before: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A re-make that was killed between its two files: each clip would have another's hint."""
    if done_before:
        embed(Cache(folder), "hints", ["hears"], specs=["random"], device="cpu")
    remade = tmp_path / "remade"
    shutil.copytree(folder / "manifest", remade / "manifest")
    monkeypatch.setitem(globals(), "FAILED", {7, *FAILED})
    extract(remade, 1)
    shutil.copy(shard_path(remade, AUDIO, 1), shard_path(folder, AUDIO, 1))
    with pytest.raises(CacheCorruptError, match=r"extract/0000001\.h5 were not made together"):
        embed(Cache(folder), "hints", ["hears"], specs=["random"], device="cpu")


def test_every_done_clip_gets_its_columns(folder: Path, toys: dict[str, ToyTeacher]) -> None:
    cache, told = Cache(folder), []
    summary = embed(
        cache, "hints", ["sees", "hears"], specs=["random"], device="cpu", batch_size=4,
        progress=lambda *call: told.append(call),
    )  # fmt: skip
    assert (summary.done, summary.skipped) == (2 * len(DONE), 0)
    assert summary.weights == {"hints/sees": "random:0", "hints/hears": "random:0"}
    assert toys["sees"].batches == [4, 4, 2, 4]  # 4 clips; 6; none; 4
    assert told[:5] == [("hints/sees", n, 14) for n in (0, 4, 8, 10, 14)]
    assert told[-1] == ("hints/hears", 14, 14)
    sees, hears = cache.column("hints/sees"), cache.column("hints/hears")
    for clip_id, row in zip(cache.ids, cache.rows.tolist(), strict=True):
        clip = cache.clip(clip_id)
        assert sees[row].tolist() == [np.float32(clip.frame.sum(dtype=float)), 0]
        assert hears[row].tolist() == [np.float32(clip.waveform.sum(dtype=float)), 64_000]
    assert [row for row in range(NUM_CLIPS) if row in sees] == DONE
    assert cache.column("hints/sees/rank")[7].dtype == np.int16
    header = read_header(shard_path(folder, "hints/hears", 1))
    assert header.inputs == {
        stage: read_header(shard_path(folder, stage, 1)).sha256 for stage in (EXTRACT, AUDIO)
    }
    assert header.weights == "random:0"
    assert header.params == {"size": 8}
    assert header.versions["batch_size"] == "4"
    assert verify(folder).ok
    document = summary.as_json()
    assert document["schema"] == "avpipe.embed-teachers/1"
    assert document["done"] == 28


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    folder: Path, toys: dict[str, ToyTeacher]
) -> None:
    def run(**options: Any) -> Any:
        return embed(
            Cache(folder), "hints", ["sees"], specs=["random"], device="cpu", batch_size=4,
            **options,
        )  # fmt: skip

    run()
    whole = contents(folder / "hints/sees")
    assert len(whole) == 4
    for name in list(whole)[::2]:
        (folder / "hints/sees" / name).unlink()
    assert (run().done, contents(folder / "hints/sees")) == (4, whole)
    shutil.rmtree(folder / "hints")
    toys["sees"].stop_after = len(toys["sees"].batches) + 2
    with pytest.raises(KeyboardInterrupt):
        run()
    assert list(contents(folder / "hints/sees")) == ["0000000.h5"]
    toys["sees"].stop_after = 10**6
    (folder / "hints/sees" / ".0000001.h5.elsewhere.1.aa").touch()
    told: list[tuple[object, ...]] = []
    summary = run(progress=lambda *call: told.append(call[1:]))
    assert (summary.done, summary.skipped) == (10, 4)
    assert told == [(4, 14), (8, 14), (10, 14), (14, 14)]
    assert contents(folder / "hints/sees") == whole
    assert run().skipped == 14


def test_changed_inputs_are_made_again_and_nothing_else(
    folder: Path, toys: dict[str, ToyTeacher]
) -> None:
    embed(Cache(folder), "hints", ["sees", "hears"], specs=["random"], device="cpu")
    before = contents(folder / "hints/sees")
    extract(folder, 1, frame_hw=(44, 50))
    summary = embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu")
    assert (summary.done, summary.skipped) == (6, 8)
    after = contents(folder / "hints/sees")
    assert [name for name in before if before[name] != after[name]] == ["0000001.h5"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PARAMS": {"size": 9}}, r"with size 8, this run asks for 9.*--overwrite"),
        ({"PARAMS": {"size": 8, "more": 1}}, r"with more none, this run asks for 1"),
        ({"VERSION": 2}, r"with stage_version 1, this run asks for 2"),
    ],
)
def test_other_parameters_are_refused(
    folder: Path, toys: dict[str, ToyTeacher], change: dict[str, Any], message: str
) -> None:
    embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu")
    vars(toys["sees"]).update(change)
    with pytest.raises(CacheCorruptError, match=message) as caught:
        embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu")
    assert caught.value.exit_code == 5
    again = embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu", overwrite=True)
    assert again.done == 14
    assert embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu").skipped == 14


def test_random_and_pretrained_never_mix(
    folder: Path, toys: dict[str, ToyTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu")
    monkeypatch.setattr(todo, "resolve", lambda *given: Weights((), "0123abcd"))
    with pytest.raises(CacheCorruptError, match="weights random:0, this run asks for 0123abcd"):
        embed(Cache(folder), "hints", ["sees"], device="cpu")


def test_dropped_sound_and_an_empty_cache_are_named(
    folder: Path, toys: dict[str, ToyTeacher]
) -> None:
    drop_stage(folder, AUDIO)
    with pytest.raises(InputError, match=r"hears needs the sound and .*audio was dropped"):
        embed(Cache(folder), "hints", ["sees", "hears"], specs=["random"], device="cpu")
    assert embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu").done == 14
    shutil.rmtree(folder / EXTRACT)
    with pytest.raises(InputError, match="no extracted clips"):
        embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu")


def test_a_network_of_another_size_is_refused(folder: Path, toys: dict[str, ToyTeacher]) -> None:
    toys["sees"].COLUMNS = {"value": ("<f4", (3,)), "rank": ("<i2", ())}
    with pytest.raises(MissingDependencyError, match=r"wants value of \(3,\), .* give \(2,\)"):
        embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu")
    assert not list((folder / "hints").rglob("*.h5"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_never_written(
    folder: Path, toys: dict[str, ToyTeacher], monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    weights = Weights((Path("/w/toy.pth"),), "0123abcd")
    monkeypatch.setattr(todo, "resolve", lambda *given: weights)
    build, calls = toys["sees"].build, Counter[None]()

    def build_bad(weights: Weights, device: str) -> Any:
        network = build(weights, device)

        def bad_at_last(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
            calls[None] += 1
            columns = network(batch)
            columns["value"] = columns["value"].astype(float)
            if calls[None] == 4:  # the second batch of shard 1
                columns["value"][-1, 1] = bad
            return columns

        return bad_at_last

    toys["sees"].build = build_bad
    with pytest.raises(MissingDependencyError, match=r"sees: .*/w/toy\.pth.*value.* not finite"):
        embed(Cache(folder), "hints", ["sees"], device="cpu", batch_size=3)
    assert list(contents(folder / "hints/sees")) == ["0000000.h5"]


def test_a_device_that_computes_nothing_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    with pytest.raises(UsageError, match="--device meta cannot be used here: ") as caught:
        usable_device("meta")
    assert caught.value.exit_code == 2

    def no_backend(*_: object, **__: object) -> None:
        raise NotImplementedError("Could not run " + "x" * 2000 + "\nCPU: registered at ...")

    monkeypatch.setattr(torch, "empty", no_backend)
    with pytest.raises(UsageError) as caught:
        usable_device("mps")
    assert len(str(caught.value)) < 220
    assert "\n" not in str(caught.value)


def test_unknown_teachers_devices_and_specs_are_refused(folder: Path) -> None:
    cache = Cache(folder)
    with pytest.raises(UsageError, match=r"no teacher is called 'detr' \(visual: detr-r50, "):
        embed(cache, "hints", ["detr"], specs=["random"], device="cpu")
    with pytest.raises(UsageError, match=r"panns=x: this run has no panns \(detr-r50\)"):
        embed(cache, "hints", ["detr-r50"], specs=["panns=x"], device="cpu")
    with pytest.raises(UsageError, match="--device warp cannot be used"):
        embed(cache, "hints", ["detr-r50"], specs=["random"], device="warp")
    assert usable_device("cpu") == "cpu"
    assert usable_device("auto") in ("cpu", "cuda")


def test_missing_weights_stop_before_anything_is_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingDependencyError, match=r"Cnn14_mAP=0\.431\.pth.*zenodo.*541141fa"):
        embed(
            Cache(folder), "hints", ["detr-r50", "panns-cnn14"], device="cpu",
            specs=["detr-r50=random", f"panns-cnn14={tmp_path}"],
        )  # fmt: skip
    assert not (folder / "hints").exists()


def test_the_next_batches_are_read_while_one_is_computed(
    folder: Path, toys: dict[str, ToyTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most two ahead, over the ends of shards; and a shard is written beside the next one."""
    prepared, seen, computing = Counter[None](), [], threading.Event()
    sizes = [2, 2, 2, 2, 2, 0, 2, 2]
    prepare = toys["sees"].prepare

    def counted(*given: Any) -> NDArray[np.float64]:
        prepared[None] += 1
        return prepare(*given)

    def build(weights: Weights, device: str) -> Any:
        def network(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
            seen.append(len(batch))
            position = len(seen) + (len(seen) > 5)  # past the shard without clips
            wanted = sum(sizes[: position + 2])  # this batch and two more
            for _ in range(500):
                if prepared[None] >= wanted:
                    break
                time.sleep(0.01)
            time.sleep(0.05)
            assert prepared[None] == wanted
            if len(seen) > 2:
                computing.set()
            return {"value": batch, "rank": np.arange(len(batch))}

        return network

    def waits(path: Path, *given: Any) -> Any:
        assert path.name != "0000000.h5" or computing.wait(500)
        return write_shard(path, *given)

    toys["sees"].prepare, toys["sees"].build = counted, build
    monkeypatch.setattr("avpipe.stages.embed.run.write_shard", waits)
    embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu", batch_size=2)
    assert seen == [2] * 7
    assert len(contents(folder / "hints/sees")) == 4


def test_what_goes_wrong_in_a_thread_ends_the_run(
    folder: Path, toys: dict[str, ToyTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> Any:
        return embed(Cache(folder), "hints", ["sees"], specs=["random"], device="cpu", batch_size=3)

    def full(path: Path, *given: Any) -> Any:
        raise CacheUnwritableError(f"{path}: no space left")

    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr("avpipe.stages.embed.run.write_shard", full)
        with pytest.raises(CacheUnwritableError, match=r"0000000\.h5: no space left"):
            run()
    path = shard_path(folder, EXTRACT, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CacheCorruptError, match=r"0000001\.h5.*does not match"):
        run()
    assert list(contents(folder / "hints/sees")) == ["0000000.h5"]
    assert threading.active_count() == threads
    path.write_bytes(whole)
    assert run().skipped == 4


def test_items_are_taken_ahead_and_no_further() -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    given = ahead(numbers(), 2)
    assert taken == []  # nothing before it is asked for
    for number in range(5):
        assert next(given) == number
        deadline = time.monotonic() + 300
        while len(taken) < number + 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert taken == list(range(number + 3))
    given.close()
    assert taken == list(range(7))
    assert list(ahead(iter("abc"), 5)) == ["a", "b", "c"]
    assert list(ahead(iter(""), 2)) == []


def test_a_gpu_computes_in_float16_and_a_cpu_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    teacher, asked = ToyTeacher("frame"), []
    teacher.build = lambda weights, device: lambda batch: {"on": torch.is_autocast_enabled("cuda")}
    weights = Weights((), "random:0", 0)
    assert build_network(teacher, weights, "cpu")(np.zeros(1)) == {"on": False}
    autocast = torch.autocast

    def noted(*given: Any) -> Any:
        asked.append(given)
        return autocast("cpu", torch.bfloat16)

    monkeypatch.setattr(torch, "autocast", noted)
    build_network(teacher, weights, "cuda:1")(np.zeros(1))
    assert asked == [("cuda", torch.float16)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cpu_computes_in_what_is_asked_for(precision: Any) -> None:
    import torch

    teacher, weights = ToyTeacher("frame"), Weights((), "random:0", 0)
    teacher.build = lambda weights, device: lambda batch: {"on": torch.is_autocast_enabled("cpu")}
    network = build_network(teacher, weights, "cpu", precision)
    assert network(np.zeros(1)) == {"on": precision == "bf16"}


def test_bf16_is_stated_and_never_mixed(
    folder: Path, toys: dict[str, ToyTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    cache = Cache(folder)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(UsageError, match="this CPU has no arithmetic for it"):
        embed(cache, "hints", ["sees"], specs=["random"], device="cpu", precision="bf16")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    embed(cache, "hints", ["sees"], specs=["random"], device="cpu", precision="bf16")
    params = read_header(shard_path(folder, "hints/sees", 0)).params
    assert params == {"size": 8, "precision": "bf16"}
    again = embed(cache, "hints", ["sees"], specs=["random"], device="cpu", precision="bf16")
    assert again.done == 0
    with pytest.raises(CacheCorruptError, match="give --precision bf16"):
        embed(cache, "hints", ["sees"], specs=["random"], device="cpu")
    embed(cache, "hints", ["sees"], specs=["random"], device="cpu", overwrite=True)
    assert read_header(shard_path(folder, "hints/sees", 0)).params == {"size": 8}
    with pytest.raises(CacheCorruptError, match="give --precision fp32"):
        embed(cache, "hints", ["sees"], specs=["random"], device="cpu", precision="bf16")


def test_what_numpy_does_not_know_is_widened() -> None:
    import torch
    from avpipe.stages.teachers.nets.arrays import as_arrays

    values = torch.tensor([[1.5, -2.0]])
    found = as_arrays({"a": values.bfloat16(), "b": values.half(), "c": values.int()})
    assert [found[name].dtype for name in "abc"] == [np.float32, np.float16, np.int32]
    np.testing.assert_array_equal(found["a"], values.numpy())


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name",
    ["detr-r50", "detr-r50-encoder", "imagenet-resnet18", "panns-wavegram", "vggsound-resnet18"],
)
def test_a_gpu_gives_nearly_what_a_cpu_gives(name: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    teacher, rng = load_teacher(name), np.random.default_rng(0)
    if teacher.READS == "frame":
        given = teacher.prepare(frame_of(0, 240, 320, rng))
    else:
        given = teacher.prepare((tone_of(0, 320_000, 32_000, rng) * 32767).astype(np.int16), 0)
    weights = Weights((), "random:0", 0)
    on_cpu, on_gpu = (
        build_network(teacher, weights, device)(given[None])["value"].astype(np.float64)
        for device in ("cpu", "cuda")
    )
    assert np.linalg.norm(on_gpu - on_cpu) < 3e-3 * np.linalg.norm(on_cpu)


@pytest.mark.parametrize("name", ["imagenet-resnet18", "vggsound-resnet18"])
def test_real_encoders_fill_the_cache(folder: Path, name: str, one_thread: None) -> None:
    cache = Cache(folder)
    for number in (0, 1, 2):  # one shard is enough
        for stage in (EXTRACT, AUDIO):
            shard_path(folder, stage, number).unlink()
    embed(cache, "embeddings", [name], specs=["random"], device="cpu", batch_size=3)
    teacher = load_teacher(name)
    network = teacher.build(Weights((), "random:0", 0), "cpu")
    for clip_id in ("clip018", "clip021"):
        clip = cache.clip(clip_id)
        given = (clip.frame,) if teacher.READS == "frame" else (clip.waveform, clip.frame_sample)
        expected = network(teacher.prepare(*given)[None])["value"][0]
        value = cache.column(f"embeddings/{name}")[clip.row]
        assert value.shape == (512,)
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)
