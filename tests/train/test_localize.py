"""Pictures of maps: what is drawn where, and which clips."""

import io
import json
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import InputError, UsageError
from avpipe.train import load_run
from avpipe.train.device import choose_device
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.localizer import Localizer
from avpipe.train.show.drawing import (
    COLOUR_MAP,
    Panel,
    cut,
    grid,
    heat_over,
    picture_of_panels,
    plain,
)
from avpipe.train.show.hero import hero_picture
from avpipe.train.show.overlays import (
    Localized,
    localize_cached,
    localize_sound,
    sheet_picture,
    write_overlays,
)
from cache_factory import add_values, make_cache
from evaluation_factory import SILENT, SOUNDING, TINY, write_world
from PIL import Image


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 28)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Localizer:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    train(cache, load_recipe("compact", TINY), folder, ids=cache.ids[:14], device="cpu")
    return load_run(folder, "cpu")


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_heat_dims_the_frame_and_glows_where_the_map_is_high() -> None:
    frame = np.full((20, 30, 3), 100, np.uint8)
    heat = np.zeros((20, 30))
    heat[5:10, 20:25] = 1
    drawn = heat_over(frame, heat).sum(2)
    assert drawn[7, 22] > 3 * drawn[0, 0]
    assert drawn[0, 0] < frame[0, 0].sum() / 255
    constant = heat_over(frame, np.full((20, 30), 0.3))
    assert np.ptp(constant, axis=(0, 1)).max() == 0


def test_shared_limits_make_maps_comparable() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    heat = np.linspace(0, 0.5, 16).reshape(4, 4)
    assert heat_over(frame, heat, (0, 1)).max() < heat_over(frame, heat).max()


def test_boxes_are_drawn_where_they_are() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    bare = pixels(grid([[Panel("", frame)]]))
    boxed = pixels(grid([[Panel("", frame, None, np.array([(0.25, 0.5, 0.75, 0.9)]))]]))
    assert bare.shape == boxed.shape
    rows, columns = np.nonzero((boxed - bare).sum(2) > 300)
    picture = np.argwhere(bare.sum(2) < 30)
    (top, left), (bottom, right) = picture.min(0), picture.max(0)
    found = [
        (columns.min() - left) / (right - left), (rows.min() - top) / (bottom - top),
        (columns.max() - left) / (right - left), (rows.max() - top) / (bottom - top),
    ]  # fmt: skip
    assert found == pytest.approx([0.25, 0.5, 0.75, 0.9], abs=0.02)


def test_any_text_can_be_a_title() -> None:
    frame = np.zeros((30, 40, 3), np.uint8)
    name = b"b\xff$a_$".decode("utf-8", "surrogateescape") + "\u00e9"
    assert plain(name) == "b\\udcff$a_$\\xe9"
    assert pixels(picture_of_panels(name, [Panel(name, frame)])).size


def test_cached_clips_are_drawn_with_their_boxes(
    run: Localizer, cache: Cache, world: Path, tmp_path: Path
) -> None:
    ids = ["clip014", "clip015", "clip016"]
    clips = list(localize_cached(run, cache, ids, annotations=world, batch_size=2))
    assert [clip.name for clip in clips] == ids
    for clip in clips:
        row = cache.row_of(clip.name)
        expected = run.upsample(run.maps(cache, [row]), clip.frame.shape[:2])[0]
        assert clip.map == pytest.approx(expected, abs=1e-5)
        assert clip.sounding.tolist() == [SOUNDING]
        assert clip.silent.tolist() == [SILENT]
    assert clips[0].label == "class2"
    done: list[int] = []
    pictures = write_overlays(clips, tmp_path / "out", progress=done.append)
    assert [path.name for path in pictures] == [f"{name}.png" for name in ids] + ["sheet.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in pictures
    )
    assert done == [1, 2, 3]
    for path in pictures:
        assert np.ptp(pixels(path.read_bytes())) > 200


def test_object_maps_of_detr_are_shown_where_the_cache_has_them(
    run: Localizer, tmp_path: Path
) -> None:
    cache = make_cache(tmp_path / "cache", 4)
    add_values(cache, "objects/detr-r50", (7, 7))
    cache = Cache(cache.path)
    (clip,) = localize_cached(run, cache, ["clip001"])
    assert clip.objects is not None
    assert np.array_equal(clip.objects, cache.column("objects/detr-r50")[cache.row_of("clip001")])
    (with_detr,) = write_overlays([clip], tmp_path)
    wide = pixels(with_detr.read_bytes()).shape
    narrow = tmp_path / "narrow"
    (without,) = write_overlays([replace(clip, objects=None)], narrow)
    edge = pixels(without.read_bytes()).shape[1]
    assert wide[1] > edge
    last = pixels(with_detr.read_bytes())[:, edge:]
    (moved,) = write_overlays([clip], narrow, geometry="corners")
    assert np.abs(pixels(moved.read_bytes())[:, edge:] - last).max() > 20


@pytest.mark.parametrize("num_clips", [2, 5, pytest.param(40, marks=pytest.mark.slow)])
def test_a_sheet_has_every_frame_above_its_map_and_one_scale_for_all(num_clips: int) -> None:
    clips = [
        Localized(f"clip{number}", np.full((90, 120, 3), (5 * number, 250, 40), np.uint8),
                  np.full((90, 120), number / 100), "a label that is much too long for a panel")
        for number in range(num_clips)
    ]  # fmt: skip
    limits = (0.0, (num_clips - 1) / 100)
    sheet = pixels(sheet_picture(clips))
    for clip in clips:
        painted = (heat_over(clip.frame, clip.map, limits)[0, 0] * 255).round()
        for colour in (clip.frame[0, 0], painted):
            close = np.abs(sheet - colour).max(2) <= 1
            assert close.sum() > 5000
        assert np.argwhere(np.abs(sheet - clip.frame[0, 0]).max(2) == 0)[:, 0].max() < (
            np.argwhere(close)[:, 0].max()
        )
    below = sheet[-46:]
    for end in (0.0, 1.0):
        colour = np.array(mpl.colormaps[COLOUR_MAP](end)[:3]) * 255
        assert (np.abs(below - colour).max(2) < 12).any()


def test_narrow_frames_leave_room_for_the_names_of_a_sheet() -> None:
    frame = np.zeros((160, 90, 3), np.uint8)
    narrow = pixels(grid([[Panel("synth7-00001_000000", frame)] * 4]))
    assert narrow.shape[1] / 4 > 110 * 1.2  # inches
    assert cut("synth7-00001_000000", 20) == "synth7-00001_000000"
    assert cut("synth7-00001_000000", 10) == "synth7-..."


def test_a_clip_alone_has_no_sheet_and_needs_no_world(
    run: Localizer, cache: Cache, tmp_path: Path
) -> None:
    (clip,) = localize_cached(run, cache, ["clip003"])
    assert clip.label == "class3"
    assert not len(clip.sounding)
    assert [path.name for path in write_overlays([clip], tmp_path)] == ["clip003.png"]


def test_a_decoded_clip_has_the_map_of_the_cached_one(run: Localizer, cache: Cache) -> None:
    clip = cache.clip("clip005")
    assert clip.waveform is not None
    found = localize_sound(run, clip.id, clip.frame, clip.waveform, clip.waveform_rate_hz)
    assert isinstance(found, Localized)
    assert found.map.shape == clip.frame.shape[:2]
    assert found.map == pytest.approx(
        run.localize(clip.frame, clip.waveform, 32000, size=clip.frame.shape[:2])
    )


def test_boxes_of_vggss_are_drawn_too(run: Localizer, cache: Cache, tmp_path: Path) -> None:
    entry = {"file": "clip003", "class": "a dog", "bbox": [[-0.5, 0.25, 1.5, 0.75]]}
    (tmp_path / "vggss.json").write_text(json.dumps([entry]))
    for annotations in (tmp_path, tmp_path / "vggss.json"):
        ids = ["clip003", "clip005"]
        known, unknown = localize_cached(run, cache, ids, annotations=annotations)
        assert known.label == "a dog"
        assert known.sounding.tolist() == [[0, 0.25, 1, 0.75]]  # as released: beyond the frame
        assert (unknown.label, len(unknown.sounding), len(known.silent)) == ("class1", 0, 0)
    with pytest.raises(InputError, match=r"has no vggss\.json"):
        list(localize_cached(run, cache, ["clip003"], annotations=tmp_path / "gone"))


def test_a_device_that_is_not_there_is_not_advised() -> None:
    usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
    with pytest.raises(
        UsageError, match=f"--device cuda:99 cannot be used here: .*; use {usable}$"
    ):
        choose_device("cuda:99")


def test_a_device_of_a_variable_is_told_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_DEVICE", "cuda:98")
    with pytest.raises(UsageError, match=r"AVPIPE_DEVICE: cuda:98 cannot be used here: .*; use"):
        choose_device("cuda:98")


def test_convolutions_on_the_gpu_are_of_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch, "empty", lambda *size, device: torch.zeros(1))  # there may be no GPU
    choose_device("cpu")
    assert torch.backends.cudnn.allow_tf32
    choose_device("cuda")
    assert not torch.backends.cudnn.allow_tf32


def test_unknown_clips_are_named(run: Localizer, cache: Cache) -> None:
    with pytest.raises(InputError, match="'clip777'"):
        list(localize_cached(run, cache, ["clip000", "clip777"]))


def test_hero_picture(run: Localizer, cache: Cache, world: Path, tmp_path: Path) -> None:
    path = hero_picture(run, cache, world, tmp_path / "docs" / "hero.png", num_clips=3)
    picture = pixels(path.read_bytes())
    assert path.stat().st_size < 300_000
    assert picture.shape[1] > picture.shape[0] * 0.9
    with pytest.raises(InputError, match="no test clip"):
        hero_picture(run, make_cache(tmp_path / "other", 10), world, tmp_path / "x.png")
