import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from avpipe import machine
from avpipe.cache.store import Cache
from avpipe.errors import InputError
from avpipe.stages.spectrogram import FRONT_ENDS
from avpipe.train.data import sources
from avpipe.train.data.augment import evaluation_views, hear, training_views, window_starts
from avpipe.train.data.batches import Batch, DataMode, Pick
from avpipe.train.data.clips import ClipReader, data_fingerprint, select_rows, short_side, square
from avpipe.train.data.crops import align_hint, area_crops, crop_resize, random_crops
from avpipe.train.data.sources import open_source
from avpipe.train.data.spectrograms import front_end_to_compute
from avpipe.train.recipe import Recipe, load_recipe
from avpipe.train.schedule import Plan
from cache_factory import make_cache
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 24)


def batches(cache: Cache, mode: DataMode, plan: Plan, size: int) -> list[Batch]:
    reader = ClipReader(cache, cache.rows, short_side(size))
    source, _ = open_source(reader, mode, CPU, workers=2)
    return list(source.batches(map(Pick.of, plan.picks(0))))


# Clips


def test_clips_are_chosen_by_id(cache: Cache) -> None:
    rows, notices = select_rows(cache)
    assert rows.tolist() == cache.rows.tolist() and not notices
    rows, notices = select_rows(cache, ["clip003", "clip001", "nowhere"], ["clip001", "x"])
    assert rows.tolist() == [3]
    assert len(notices) == 1 and "1 of 3" in notices[0] and "nowhere" in notices[0]


def test_no_clips_is_an_error(cache: Cache) -> None:
    with pytest.raises(InputError, match="none of the 1 clips of --ids"):
        select_rows(cache, ["nowhere"])
    with pytest.raises(InputError, match=r"all \d+ clips to train on are held out"):
        select_rows(cache, None, cache.ids)


def test_the_fingerprint_is_of_rows_and_content(cache: Cache, tmp_path: Path) -> None:
    rows = cache.rows
    same, other = make_cache(tmp_path / "a", 24), make_cache(tmp_path / "b", 24, kind="257x300")
    grown = make_cache(tmp_path / "c", 24)
    assert data_fingerprint(same, rows) == data_fingerprint(cache, rows)
    assert data_fingerprint(other, rows) != data_fingerprint(cache, rows)
    assert data_fingerprint(cache, rows[1:]) != data_fingerprint(cache, rows)
    before = data_fingerprint(grown, rows)
    grown = make_cache(tmp_path / "c", 6, first=24)
    assert len(grown) == 30 and data_fingerprint(grown, rows) == before


def test_another_spectrogram_without_sound_is_refused_by_name(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, 3)
    (tmp_path / "audio/0000000.h5").unlink()
    with pytest.raises(InputError, match=r"257x276.*257x300.*lacks 1 of 1 shards.*verify --repair"):
        front_end_to_compute(cache, cache.rows, "257x300")
    (tmp_path / "audio/DROPPED").touch()
    with pytest.raises(InputError, match=r"257x276.*257x300.*dropped.*avpipe extract --overwrite"):
        ClipReader(cache, cache.rows, square(40), kind="257x300")
    assert front_end_to_compute(cache, cache.rows, "257x276") is None


# Order


def test_an_epoch_is_a_permutation_and_the_tail_is_left_out() -> None:
    plan = Plan(Recipe(epochs=3), seed=5, num_clips=23, batch_size=4)
    picks = list(plan.picks(0))
    assert (plan.steps_per_epoch, plan.num_steps, len(picks)) == (5, 15, 15)
    epochs = [np.concatenate(picks[i : i + 5]) for i in (0, 5, 10)]
    for seen in epochs:
        assert len(set(seen.tolist())) == 20 and set(seen.tolist()) <= set(range(23))
    assert not np.array_equal(epochs[0], epochs[1])


def test_the_order_after_a_resume_is_that_of_the_whole_run() -> None:
    plan = Plan(Recipe(epochs=3), seed=5, num_clips=23, batch_size=4)
    whole = list(plan.picks(0))
    for first in (1, 5, 7, 14, 15):
        rest = list(plan.picks(first))
        assert len(rest) == 15 - first
        assert all(np.array_equal(a, b) for a, b in zip(rest, whole[first:], strict=True))
    other = Plan(Recipe(epochs=3), seed=6, num_clips=23, batch_size=4)
    assert not np.array_equal(next(other.picks(0)), whole[0])


def test_the_learning_rate_warms_up_and_falls() -> None:
    plan = Plan(Recipe(lr=1.0, warmup_steps=4, epochs=2), 0, 40, 4)
    rates = [plan.learning_rate(step) for step in range(6)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    plan = Plan(Recipe(lr=1.0, schedule="cosine", epochs=2), 0, 40, 4)
    assert plan.learning_rate(0) == 1
    assert plan.learning_rate(10) == pytest.approx(0.5)
    assert 0 < plan.learning_rate(19) < 0.01


# Sources


def test_batches_hold_the_clips_as_stored(cache: Cache) -> None:
    plan = Plan(Recipe(epochs=1), 0, 24, 5)
    for batch in batches(cache, "stream", plan, 256):
        for i, row in enumerate(batch.rows.tolist()):
            jpeg = cache.column("extract/frame_jpeg")[row]
            frame = np.asarray(Image.open(io.BytesIO(jpeg.tobytes())))
            height, width = batch.frame_hw[i]
            assert frame.shape == (height, width, 3)
            assert np.array_equal(batch.frames[i, :height, :width].numpy(), frame)
            assert not batch.frames[i, height:].any() and not batch.frames[i, :, width:].any()
            wide = cache.column("extract/spectrogram_wide")[row]
            assert np.array_equal(batch.spectrograms[i].numpy(), wide)
            assert batch.valid_cols[i].tolist() == ([93, 369] if row % 5 == 4 else [0, 462])


@pytest.mark.parametrize("size", [256, 40])
def test_resident_and_stream_give_the_same_bytes(cache: Cache, size: int) -> None:
    plan = Plan(Recipe(epochs=2), 1, 24, 7)
    pairs = zip(
        batches(cache, "resident", plan, size), batches(cache, "stream", plan, size), strict=True
    )
    for a, b in pairs:
        assert torch.equal(a.frames, b.frames) and a.frames.dtype == torch.uint8
        assert torch.equal(a.spectrograms, b.spectrograms)
        assert np.array_equal(a.rows, b.rows) and np.array_equal(a.frame_hw, b.frame_hw)
        assert np.array_equal(a.valid_cols, b.valid_cols)
        assert a.frame_hw.min() == min(size, 64)


def test_auto_streams_what_does_not_fit(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ClipReader(cache, cache.rows, short_side(256))
    sizes = sources.resident_bytes(reader)
    frames, spectrograms = sizes["frames"], sizes["spectrograms"]
    assert spectrograms == 24 * 257 * 462 * 2
    assert frames == sum(64 * (80 + i % 9) * 3 for i in range(24))
    monkeypatch.setattr(sources, "free_memory_bytes", lambda: 2 * (frames + spectrograms))
    source, line = open_source(reader, "auto", CPU)
    assert isinstance(source, sources.Resident) and "6 MB" in line
    monkeypatch.setattr(sources, "free_memory_bytes", lambda: 2 * (frames + spectrograms) - 2)
    source, line = open_source(reader, "auto", CPU)
    assert isinstance(source, sources.Stream) and "streamed" in line


def test_processes_of_one_machine_share_its_memory(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ClipReader(cache, cache.rows, short_side(256))
    total = sum(sources.resident_bytes(reader).values())
    monkeypatch.setattr(sources, "free_memory_bytes", lambda: 4 * total)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert isinstance(open_source(reader, "auto", CPU)[0], sources.Resident)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert isinstance(open_source(reader, "auto", CPU)[0], sources.Stream)


@pytest.mark.parametrize(
    ("mode", "main", "gpu", "place"),
    [
        ("auto", 2.0, 2.0, "cuda"),
        ("auto", 2.0, 1.9, "cpu"),
        ("auto", 1.9, 2.0, "streamed"),  # all is read into main memory first
        ("resident", 1.9, 2.0, "cuda"),
        ("resident", 1.9, 1.9, "cpu"),
    ],
)
def test_the_gpu_holds_what_main_memory_can_read(
    cache: Cache,
    monkeypatch: pytest.MonkeyPatch,
    mode: DataMode,
    main: float,
    gpu: float,
    place: str,
) -> None:
    reader = ClipReader(cache, cache.rows, short_side(256))
    total = sum(sources.resident_bytes(reader).values())
    monkeypatch.setattr(sources, "free_memory_bytes", lambda: int(main * total))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(gpu * total), 0))
    monkeypatch.setattr(sources, "Resident", lambda *given, **named: None)
    assert place in open_source(reader, mode, torch.device("cuda"))[1].rpartition("; ")[2]


def test_a_small_container_on_a_large_host_streams(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has 256 GB left, the container 2 GB in all: what takes half of them must not."""
    made_up = container(tmp_path, limit=2 * GB, used=1 * GB)
    known = partial(machine.known_free_bytes, *made_up)
    monkeypatch.setattr(machine, "known_free_bytes", known)
    reader = ClipReader(cache, cache.rows, short_side(256))
    for held, kind in ((0.4 * GB, sources.Resident), (0.6 * GB, sources.Stream)):
        monkeypatch.setattr(sources, "resident_bytes", lambda *_, held=held: {"frames": int(held)})
        assert isinstance(open_source(reader, "auto", CPU)[0], kind)


def container(folder: Path, limit: int, used: int) -> tuple[Path, Path, Path]:
    """Make the files that the kernel shows in a container of a host with 256 GB left."""
    (folder / "meminfo").write_text(f"MemFree: 1 kB\nMemAvailable: {256 * GB // 1024} kB\n")
    (folder / "own").write_text("0::/\n")
    (folder / "groups").mkdir()
    (folder / "groups/memory.max").write_text(f"{limit}\n")
    (folder / "groups/memory.current").write_text(f"{used + 7}\n")
    (folder / "groups/memory.stat").write_text("anon 5\ninactive_file 7\nactive_file 1\n")
    return folder / "meminfo", folder / "groups", folder / "own"


@pytest.mark.parametrize(
    ("stored", "size", "fitted"),
    [((256, 455), 128, (128, 228)), ((300, 256), 105, (123, 105)), ((64, 80), 96, (64, 80))],
)
def test_the_short_side_is_fitted(
    stored: tuple[int, int], size: int, fitted: tuple[int, int]
) -> None:
    assert short_side(size)(*stored) == fitted
    assert square(size)(*stored) == (size, size)


# Views


def frames_batch(rng: np.random.Generator, count: int = 6) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, (count, 50, 70, 3)).astype(np.uint8))


def test_crops_and_flips_equal_a_loop() -> None:
    rng = np.random.default_rng(0)
    frames = frames_batch(rng)
    frame_hw = np.array([[50, 70 - i] for i in range(6)])
    boxes = random_crops(frame_hw, 32, rng)
    mirrored = np.array([True, False, True, False, False, True])
    found = crop_resize(frames, frame_hw, boxes, mirrored, 32)
    for i in range(6):
        expected = reference.crop_flip(frames[i].numpy(), boxes[i].tolist(), bool(mirrored[i]))
        assert np.array_equal(found[i].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("size", [16, 24, 61])
def test_crops_of_another_size_are_resized_as_torch_does(size: int) -> None:
    rng = np.random.default_rng(1)
    frames = frames_batch(rng)
    boxes = np.array([[3 + i, 5, 40 - i, 50] for i in range(6)])
    found = crop_resize(frames, np.array([[50, 70]] * 6), boxes, np.zeros(6, bool), size)
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        crop = frames[i, top : top + height, left : left + width].permute(2, 0, 1)[None].float()
        expected = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(found[i], expected, atol=0.01, rtol=0)


def test_crops_may_reach_into_a_mirrored_border() -> None:
    rng = np.random.default_rng(2)
    frames = frames_batch(rng, 40)
    frame_hw = np.stack([rng.integers(35, 51, 40), rng.integers(40, 71, 40)], axis=1)
    boxes = random_crops(frame_hw, 32, rng, pad=9)
    assert (boxes[:, :2] < 0).any() and (boxes[:, :2] + 32 > frame_hw).any()
    found = crop_resize(frames, frame_hw, boxes, np.zeros(40, bool), 32)
    for i, (height, width) in enumerate(frame_hw.tolist()):
        frame = frames[i, :height, :width].numpy()
        padded = np.pad(frame, ((9, 9), (9, 9), (0, 0)), mode="reflect")
        box = (boxes[i] + np.array([9, 9, 0, 0])).tolist()
        expected = reference.crop_flip(padded, box, False)
        assert np.array_equal(found[i].permute(1, 2, 0).numpy(), expected)


def test_crops_lie_inside_and_reach_every_corner() -> None:
    frame_hw = np.array([[40, 36]] * 400)
    boxes = random_crops(frame_hw, 32, np.random.default_rng(0))
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + 32 <= frame_hw).all()
    assert boxes[:, :2].min(0).tolist() == [0, 0] and boxes[:, :2].max(0).tolist() == [8, 4]
    assert random_crops(np.array([[20, 30]]), 32, np.random.default_rng(0))[0, 2:].tolist() == [
        20, 20,
    ]  # fmt: skip


def test_shifts_stay_inside_the_sound_there_is() -> None:
    kind = "257x276"
    valid = np.array([[0, 462]] * 300 + [[93, 369]] * 300 + [[60, 400]] * 300 + [[94, 368]] * 300)
    starts = window_starts(valid, kind, np.random.default_rng(0)).reshape(4, 300)
    assert (starts[0].min(), starts[0].max()) == (0, 186)
    assert set(starts[1].tolist()) == {93}
    assert (starts[2].min(), starts[2].max()) == (60, 124)
    assert set(starts[3].tolist()) == {93}
    assert set(window_starts(valid, kind, None).tolist()) == {93}


@pytest.mark.parametrize("pool", [1, 4])
def test_what_is_heard_equals_a_loop(pool: int) -> None:
    rng = np.random.default_rng(0)
    wide = torch.from_numpy(rng.uniform(-16, 2, (2, 257, 462)).astype(np.float16))
    recipe = Recipe(audio_pool=pool, spectrogram_mean=-10.0, spectrogram_std=4.0)
    found = hear(wide, np.array([93, 10]), recipe)
    assert found.shape == (2, 1, 257 // pool, 276 // pool)
    for i, start in enumerate((93, 10)):
        window = wide[i, :, start : start + 276].numpy().astype(np.float64)
        expected = (reference.mean_pool(window, pool) + 10) / 4
        np.testing.assert_allclose(found[i, 0].numpy(), expected, atol=1e-5)


def test_views_depend_on_the_generator_alone(cache: Cache) -> None:
    recipe = load_recipe("compact", ["image_size=40", "image_resize=48", "time_shift=true"])
    plan = Plan(recipe, 3, 24, 8)
    batch = batches(cache, "resident", plan, 48)[0]
    one, same, other = (training_views(batch, recipe, plan.rng(s), CPU) for s in (4, 4, 5))
    assert one.frames.shape == (8, 3, 40, 40) and one.spectrograms.shape == (8, 1, 64, 69)
    assert torch.equal(one.frames, same.frames)
    assert torch.equal(one.spectrograms, same.spectrograms)
    assert not torch.equal(one.frames, other.frames)
    assert not torch.equal(one.spectrograms, other.spectrograms)


def test_evaluation_sees_the_whole_frame_and_hears_the_centre(cache: Cache) -> None:
    recipe = load_recipe("compact", ["image_size=40", "image_resize=48", "audio_pool=1"])
    reader = ClipReader(cache, cache.rows, square(40))
    source, _ = open_source(reader, "stream", CPU)
    views = evaluation_views(next(source.batches([Pick.of(np.arange(3))])), recipe, CPU)
    for i in range(3):
        clip = cache.clip(f"clip{i:03d}")
        squeezed = Image.fromarray(clip.frame).resize((40, 40), Image.Resampling.BICUBIC)
        mean, std = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
        expected = (np.asarray(squeezed) / 255 - mean) / std
        np.testing.assert_allclose(views.frames[i].permute(1, 2, 0).numpy(), expected, atol=1e-5)
        heard = (clip.spectrogram + 10) / 4
        np.testing.assert_allclose(views.spectrograms[i, 0].numpy(), heard, atol=1e-5)
    assert FRONT_ENDS[recipe.spectrogram].num_columns == views.spectrograms.shape[3]


def resnet_cells(num: int) -> np.ndarray:
    """Centres of a padded ResNet's cells as shares of a side of 224 px: 0.5, 32.5, ... of 224."""
    return (np.arange(num) * 224 / num + 0.5) / 224


@pytest.mark.parametrize("num_cells", [None, 7, 14, 6])
def test_a_ramp_of_hints_cuts_to_its_analytic_crop(num_cells: int | None) -> None:
    frame_hw = np.array([[100, 140], [100, 140], [90, 120]])
    boxes = np.array([[20, 30, 56, 70], [10, 12, 63, 70], [9, 20, 60, 70]])
    mirrored = np.array([False, True, True])
    y, x = np.meshgrid(resnet_cells(7), resnet_cells(7), indexing="ij")
    hint = torch.from_numpy(np.stack([y, x, 2 * y - 3 * x])).float().expand(3, 3, 7, 7)
    student = None if num_cells is None else (np.arange(num_cells) + 0.25) / num_cells
    at = resnet_cells(7)
    if student is not None:
        at = F.adaptive_avg_pool1d(torch.from_numpy(student)[None], 7)[0].numpy()
    found = align_hint(hint, boxes, mirrored, frame_hw, "roi", student).numpy()
    for i in range(3):
        top, left, height, width = boxes[i]
        across = 1 - at if mirrored[i] else at
        rows, columns = (top + at * height) / 100, (left + across * width) / 140
        if i == 2:
            rows, columns = (top + at * height) / 90, (left + across * width) / 120
        # beyond the outer cells a hint stays as it is
        rows, columns = (np.clip(one, *resnet_cells(7)[[0, -1]]) for one in (rows, columns))
        y, x = np.meshgrid(rows, columns, indexing="ij")
        np.testing.assert_allclose(found[i], np.stack([y, x, 2 * y - 3 * x]), atol=1e-5)


def blurring_resnet() -> nn.Module:
    """ResNet18's strides and paddings, every layer a mean: it sees blobs where they are."""
    network = resnet18().eval()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    return nn.Sequential(*list(network.children())[:-2])


def peak(map_: torch.Tensor) -> np.ndarray:
    """Where the weight of a positive map lies, in cells."""
    weight = map_.double() ** 8
    y, x = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in map_.shape), indexing="ij"
    )
    return np.array([float((weight * y).sum()), float((weight * x).sum())]) / float(weight.sum())


@pytest.mark.parametrize("how", ["roi", "flip"])
def test_a_hint_follows_the_mirrored_crop_as_the_network_does(how: str) -> None:
    """The teacher's map of the frame, aligned, is the same network's map of the crop."""
    network, size = blurring_resnet(), 224
    y, x = np.mgrid[:224, :224]
    for row, column in ((100, 80), (120, 140), (90, 110)):
        blob = 255 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 20**2))
        frames = torch.from_numpy(blob[None, :, :, None].repeat(3, 3)).round().byte()
        hw, whole, box = np.array([[224, 224]]), [0, 0, 224, 224], [40, 30, 160, 150]
        boxes, mirrored = np.array([box if how == "roi" else whole]), np.array([True])
        with torch.no_grad():
            teacher = network(frames.permute(0, 3, 1, 2) / 255)
            crop = crop_resize(frames, hw, boxes, mirrored, size) / 255
            student = network(crop)
        aligned = align_hint(teacher, boxes, mirrored, hw, how, resnet_cells(7))  # type: ignore[arg-type]
        np.testing.assert_allclose(peak(aligned[0, 0]), peak(student[0, 0]), atol=0.3)


def test_a_hint_of_patches_follows_as_tiles() -> None:
    """A mirrored map of patches is the map of the mirrored frame; a crop lies between centres."""
    hint, hw, tiles = torch.rand(1, 5, 4, 4), np.array([[80, 80]]), (np.arange(4) + 0.5) / 4
    whole, box = np.array([[0, 0, 80, 80]]), np.array([[20, 40, 40, 40]])
    flipped = align_hint(hint, whole, np.array([True]), hw, "flip", tiles, "tiles")
    torch.testing.assert_close(flipped, hint.flip(3))
    assert not torch.allclose(align_hint(hint, whole, np.array([True]), hw, "flip"), hint.flip(3))

    def at(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
        return np.apply_along_axis(lambda line: np.interp(shares, tiles, line), 0, values)

    found = align_hint(hint, box, np.array([True]), hw, "roi", tiles, "tiles")[0]
    rows, columns = 20 / 80 + tiles / 2, 40 / 80 + tiles[::-1] / 2
    for channel, cells in zip(found.numpy(), hint[0].double().numpy(), strict=True):
        np.testing.assert_allclose(channel, at(at(cells, rows).T, columns).T, atol=1e-6)


def test_hints_may_only_flip_or_stay() -> None:
    hint = torch.rand(2, 5, 7, 7)
    where = np.array([[0, 0, 50, 50]] * 2), np.array([True, False]), np.array([[60, 80]] * 2)
    flipped = align_hint(hint, *where, "flip")
    torch.testing.assert_close(flipped[1], hint[1])
    mirrored = hint[0].flip(2)  # cell j of 7 lies at pixel 32 j, mirrored at 223 - 32 j
    between = (31 * mirrored[..., :-1] + mirrored[..., 1:]) / 32
    expected = torch.cat([mirrored[..., :1], between], dim=2)
    torch.testing.assert_close(flipped[0], expected)
    assert torch.equal(align_hint(hint, *where, "none"), hint)
    whole = np.array([[0, 0, 60, 80]] * 2), np.zeros(2, bool), np.array([[60, 80]] * 2)
    torch.testing.assert_close(align_hint(hint, *whole, "roi"), hint)


def test_area_crops_have_their_area_and_shape() -> None:
    frame_hw = np.array([[400, 500]] * 3000)
    boxes = area_crops(frame_hw, np.random.default_rng(0), 0.08)
    area, shape = boxes[:, 2:].prod(1) / 200_000, boxes[:, 3] / boxes[:, 2]
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= frame_hw).all()
    assert 0.075 < area.min() < 0.1 and area.max() > 0.9
    assert np.quantile(area, 0.5) == pytest.approx(0.54, abs=0.03)
    inside = (boxes[:, 2:] < frame_hw).all(1)
    assert 0.74 < shape[inside].min() < 0.76 and 1.31 < shape[inside].max() < 1.35
