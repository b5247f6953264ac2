"""The hard cases: what is heard and shown is what the boxes say; the gallery tells the rest."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from avpipe.pipeline.main import main
from avpipe.pipeline.pages.cases.run import MappedClip
from avpipe.stages.media import decode_clip
from avpipe.stages.synth.frames import frames
from avpipe.stages.synth.hard import KINDS, SMALL, Case, encode_case, mix, plan_cases, read_world
from avpipe.stages.synth.scenes import MIDDLE_FRAME
from avpipe.stages.synth.timbre import waveform
from avpipe.stages.synth.world import draw_classes
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from cache_factory import make_cache
from evaluation_factory import TINY
from PIL import Image

SEED, SIZE = 3, (0.28, 0.42)
WORLD = draw_classes(SEED, 9)
CASES = plan_cases(SEED, WORLD, each=5, size=SIZE)


def of_kind(name: str) -> list[Case]:
    return [case for case in CASES if case.kind.name == name]


def shape_of(case: Case) -> tuple[int, int, int, int]:
    """Return how many objects there are, sound, classes shown and classes heard."""
    classes = {thing.class_index for thing in case.clip.objects}
    return len(case.clip.objects), len(case.sounding), len(classes), len(case.heard)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ordinary", (2, 1, 2, 1)),
        ("mixture", (3, 2, 3, 2)),
        ("small", (2, 1, 2, 1)),
        ("silent", (2, 0, 2, 0)),
        ("off-screen", (2, 0, 2, 1)),
        ("several", (3, 2, 2, 1)),
    ],
)
def test_what_is_heard_is_what_the_solid_boxes_hold(
    name: str, shape: tuple[int, int, int, int]
) -> None:
    assert len(of_kind(name)) == 5
    for case in of_kind(name):
        assert shape_of(case) == shape
        sounding = {thing.class_index for thing in case.clip.objects[: len(case.sounding)]}
        silent = {thing.class_index for thing in case.clip.objects[len(case.sounding) :]}
        assert not sounding & silent and not silent & set(case.heard)
        assert sounding == (set() if name == "off-screen" else set(case.heard))
        assert not any(WORLD[index].held_out for index in (*sounding, *silent, *case.heard))
        sides = np.ptp(np.concatenate([case.sounding, case.silent]).reshape(-1, 2, 2), axis=1)
        low, high = SMALL if name == "small" else SIZE
        assert np.all((low - 0.01 < sides[0]) & (sides[0] < high + 0.01))
        assert np.all((SIZE[0] - 0.01 < sides[1:]) & (sides[1:] < SIZE[1] + 0.01))


def test_clips_show_and_play_what_they_say(tmp_path: Path) -> None:
    assert {case.kind for case in CASES} == set(KINDS)
    for name in ("mixture", "silent"):
        case = of_kind(name)[0]
        path = tmp_path / f"{case.name}.mp4"
        path.write_bytes(encode_case(case, WORLD, SEED))
        assert path.read_bytes() == encode_case(case, WORLD, SEED)
        clip = decode_clip(str(path))
        assert clip.frame.shape == (256, 256, 3)
        assert (np.abs(clip.waveform).max() < 1e-4) == (name == "silent")
        with av.open(str(path)) as container:
            assert container.streams.video[0].frames == 60


def test_objects_fill_their_boxes_and_nothing_else() -> None:
    for case in (of_kind("small")[1], of_kind("several")[2]):
        drawn, bare = (
            next(islice(frames(clip, WORLD, np.random.default_rng(1)), MIDDLE_FRAME, None))
            for clip in (case.clip, replace(case.clip, objects=()))
        )
        changed = (drawn != bare).any(2)
        boxes = (np.concatenate([case.sounding, case.silent]) * 256).round().astype(int)
        for x1, y1, x2, y2 in boxes:
            inside = changed[y1:y2, x1:x2]
            assert inside.any(0).all() and inside.any(1).all()
            changed[y1:y2, x1:x2] = False
        assert not changed.any()


def test_a_mixture_holds_both_sounds_equally_loud() -> None:
    def rng() -> np.random.Generator:
        return np.random.default_rng(5)

    mixed = mix((1, 2), WORLD, rng())[0]
    drawn = rng()
    parts = [waveform(WORLD[one].timbre, drawn).mean(0) for one in (1, 2)]
    parts = [part / part.std() for part in parts]
    shares = np.linalg.lstsq(np.stack(parts, 1), mixed, rcond=None)[0]
    assert shares[0] == pytest.approx(shares[1], rel=1e-3)
    np.testing.assert_allclose(np.stack(parts, 1) @ shares, mixed, atol=1e-4)
    assert np.abs(mixed).max() == pytest.approx(0.9)
    assert not mix((), WORLD, rng()).any()


def test_found_means_that_the_peak_lies_in_a_box_that_sounds() -> None:
    case = of_kind("several")[0]
    frame = np.zeros((256, 256, 3), np.uint8)
    for boxes, found in ((case.sounding, True), (case.silent, False)):
        for x1, y1, x2, y2 in boxes * 256:
            heat = np.zeros((256, 256), np.float32)
            heat[int((y1 + y2) / 2), int((x1 + x2) / 2)] = 0.7
            one = MappedClip(case, b"", frame, heat, ())
            assert (one.is_found, round(one.peak, 3)) == (found, 0.7)
    assert MappedClip(of_kind("silent")[0], b"", frame, heat, ()).is_found is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    cache = make_cache(tmp_path_factory.mktemp("cache"), 16)
    folder = tmp_path_factory.mktemp("run")
    train(cache, load_recipe("compact", [*TINY, "epochs=1"]), folder, device="cpu")
    return folder


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "world").mkdir()
    made = {"seed": SEED, "classes": 9, "size": list(SIZE)}
    (tmp_path / "world/world.json").write_text(json.dumps(made))
    return tmp_path / "world"


def test_the_gallery_is_a_page_a_picture_and_clips(
    run: Path,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(run)
    world.rename("synth")
    out = tmp_path / "cases"
    page = Path(__file__).parents[3] / "docs" / "looking.md"
    (command,) = re.findall(r"(?m)^\$ avpipe (cases.*)$", page.read_text(encoding="utf-8"))
    assert main([*command.split(), "--n", "1", "--device", "cpu", "--json"]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert made["schema"] == "avpipe.cases/1"
    assert [one["case"] for one in made["cases"]] == [kind.name for kind in KINDS]
    for one, clip in zip(made["cases"], made["clips"], strict=True):
        assert (one["case"], one["peak"]) == (clip["case"], clip["peak"])
        assert one["found"] == (None if clip["found"] is None else int(clip["found"]))
        assert (out / f"{clip['name']}.mp4").stat().st_size > 10_000
        assert len(clip["heard"]) == {"mixture": 2, "silent": 0}.get(clip["case"], 1)
    page = (out / "cases.html").read_text()
    names = re.findall(r'src="data:(\w+/\w+);base64,', page)
    assert names.count("image/jpeg") == names.count("video/mp4") == 6
    assert "http:" not in page and "https:" not in page
    assert b"ftyp" in b64decode(re.findall(r'data:video/mp4;base64,([^"]{16})', page)[0])
    assert all(f"To be expected: {kind.expect}" in page for kind in KINDS)
    with Image.open(out / "cases.png") as picture:
        assert picture.height > 2 * picture.width
    assert sorted(path.name for path in out.glob("[!.]*")) == sorted(
        ["cases.html", "cases.png", *(f"{clip['name']}.mp4" for clip in made["clips"])]
    )


def test_what_cannot_be_shown_is_told(
    run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        ("--run", str(run)): (2, "--annotations DIR"),
        ("--annotations", str(world)): (2, "--run DIR"),
        ("--run", str(run), "--annotations", str(tmp_path)): (4, "is no synthetic world"),
        ("--run", str(tmp_path), "--annotations", str(world)): (4, str(tmp_path)),
        ("--run", str(run), "--annotations", str(world), "--out", str(world / "world.json")): (
            2,
            "is no folder",
        ),
    }
    for words, (code, message) in told.items():
        assert main(["cases", *words]) == code
        assert message in capsys.readouterr().err
    assert read_world(world) == (SEED, WORLD, SIZE)
