"""Benchmarks of other laboratories' files: published counts, forms, and what is wrong in them."""

import json
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.errors import InputError
from avpipe.train.benchmarks import Pair, load_benchmark, mixture
from avpipe.train.metrics import Maps
from avpipe.train.score.protocols import PROTOCOLS
from avpipe.train.truths.annotated import Annotated
from avpipe.train.truths.masks import read_mask
from benchmark_factory import SIZE, box_mask, write_dsol, write_listed, write_mask, write_s4
from evaluation_factory import write_vggss

PUBLISHED = Path(__file__).parents[4] / "shared" / "metadata"
published = pytest.mark.skipif(
    not (PUBLISHED / "dsol_solotest.json").exists(), reason=f"no published files in {PUBLISHED}"
)
BOX = [20.0, 30.0, 120.0, 130.0]
"""100 x 100 pixels of 224 x 224."""
FRAMES = [f"v{video}_{number}" for video in (1, 2) for number in range(1, 6)]


def load(name: str, folder: Path, rules: str = "avpipe") -> Annotated:
    test = load_benchmark(name, folder, PROTOCOLS[rules])
    assert isinstance(test, Annotated)
    return test


def lines(test: Annotated) -> str:
    return "\n".join(test.notices)


def scores(test: Annotated, source: Any, rules: str = "avpipe") -> dict[str, float]:
    found: dict[str, float] = test.score(source, PROTOCOLS[rules]).scores["all"]
    return found


def perfect(test: Annotated) -> Any:
    """Return maps that are 1 in the truth and 0 elsewhere."""
    truths = {item.pair: test.draw([test.boxes[item.source or item.pair.video]])[0]
              for item in test.items if item.kind == "positive"}  # fmt: skip
    nothing = np.zeros((SIZE, SIZE))
    return lambda pairs: np.stack([truths.get(pair, nothing) for pair in pairs]).astype(np.float32)


# --- the published files ---


@published
@pytest.mark.parametrize(
    ("name", "rules", "num", "told"),
    [
        ("music-solo", "avpipe", 12356, "1,116 of 13,472 frames have no box, left out"),
        ("music-solo-avgn", "avpipe", 2124, "as protocol avgn does, 1,647 of 2,124 have no area"),
        ("music-solo-avgn", "avgn", 2124, "as AVGN's code does: 1,647 of 2,124 have no area"),
        ("music-duet-avgn", "avpipe", 1020, "as protocol avgn does, 1,027 of 2,040 have no area"),
        ("music-duet-avgn", "avgn", 2040, "as AVGN's code does: 1,027 of 2,040 have no area"),
    ],
)
def test_counts_of_music(name: str, rules: str, num: int, told: str) -> None:
    test = load(name, PUBLISHED, rules)
    assert len(test.items) == test.num_official == num
    assert told in lines(test) and "published test" not in lines(test)


@published
def test_counts_of_dsols_duets() -> None:
    test = load("music-duet", PUBLISHED)
    assert test.num_official == 15035 and len(test.items) == 7 * (11512 - 1228)
    assert "1,228 of 11,512 frames have no box" in lines(test)
    assert len({item.pair.audio for item in test.items}) == 7


@published
def test_boxes_of_avgn_are_those_of_dsol_and_stay_in_their_frames() -> None:
    """Read as x, y, width, height none leaves the frame; read as corners the truths shrink."""
    test = load("music-solo-avgn", PUBLISHED)
    assert all((box >= 0).all() and (box <= 1 + 1e-9).all() for box in test.boxes.values())
    assert f"{100 * test.ceiling:.2f}" == "30.65"
    assert f"{100 * load('music-solo-avgn', PUBLISHED, 'avgn').ceiling:.2f}" == "0.14"


@published
def test_counts_of_vggsounds_lists() -> None:
    single, duet = (load(f"vggsound-{name}", PUBLISHED) for name in ("single", "duet"))
    assert (len(single.items), len(duet.items)) == (5158, 2 * 5158)
    first, second = duet.items[:2]
    assert (
        first.pair.audio == second.pair.audio == mixture("zpWuikVorYg_000032", "Rtg1SUrxOPY_000130")
    )
    assert [first.pair.video, second.pair.video] == list(first.pair.sounds)
    assert len(duet.clip_ids) == 5158


# --- generated files of the published sizes ---

SMALLEST = [0, 0, 112, 112]
"""A quarter of the picture, from which on half of it can have a cIoU of 0.5."""


@pytest.mark.parametrize(
    ("name", "file", "num", "ceiling", "bare"),
    [
        ("is3", "synthetic3240_bbox.json", 6480, 58.6, 0),
        ("vpo-ss", "vpo_ss_bbox.json", 890, 43.3, 0),
        ("vpo-ms", "vpo_ms_bbox.json", 2157, 39.2, 2),
        ("avsbench-s4", "s4_box.json", 3700, 58.9, 6),
        ("avsbench-ms3", "ms3_box.json", 320, 52.5, 29),
    ],
)
def test_counts_and_ceilings_of_files_as_published(
    name: str, file: str, num: int, ceiling: float, bare: int, tmp_path: Path
) -> None:
    """With as many boxes of a quarter of the picture or more as the published files have."""
    per = {"is3": 2, "avsbench-s4": 5, "avsbench-ms3": 5}.get(name, 1)
    ids = [f"a_b_{i // per}_{i % per + 1}" for i in range(num)]
    large = round(num * ceiling / 100)
    boxes = [SMALLEST] * large + [[0, 0, 112, 111]] * (num - large - bare) + [[0] * 4] * bare
    write_listed(tmp_path / file, dict(zip(ids, boxes, strict=True)))
    test = load(name, tmp_path)
    assert test.num_official == num and f"{100 * test.ceiling:.1f}" == f"{ceiling}"
    assert "the published test" not in lines(test)
    assert (f"{bare} clips" in lines(test)) == (bare > 0)
    if name == "is3":
        assert len({item.group for item in test.items}) == 3240 and not test.notices


@published
def test_subsets_that_vggsounder_judges_as_published() -> None:
    counts = load("vggss", PUBLISHED).counts
    found = {name: counts[name].get("positive", 0) for name in counts}
    judged = [found[n] for n in ("seen-and-heard", "heard-only", "seen-only", "no-longer")]
    assert judged == [3230, 542, 45, 584] and sum(judged) == 4401
    assert found["static"] == 236 and found["not-judged"] == 5158 - 4401


# --- IS3 and VPO ---

PAIRS = {
    "cat_dog_7_cat": [0, 0, 150, 150],
    "cat_dog_7_dog": [160, 0, 224, 224],
    "owl_car_subway": [0, 0, 100, 200],
    "owl_car_train": [120, 0, 220, 200],
}


def test_is3_counts_the_worse_sound_of_a_picture(tmp_path: Path) -> None:
    write_listed(tmp_path / "synthetic3240_bbox.json", PAIRS)
    test = load("is3", tmp_path)
    assert [item.group for item in test.items] == ["cat_dog_7"] * 2 + ["owl_car"] * 2
    assert "has 4 rows, the published test 6,480" in lines(test)
    found = scores(test, perfect(test))
    assert found["loc_acc_adaptive"] == found["iiou_adaptive"] == found["iauc_adaptive"] == 1
    left = np.broadcast_to(-np.arange(SIZE), (SIZE, SIZE))
    found = scores(test, lambda pairs: np.stack([left] * len(pairs)))
    assert found["loc_acc_adaptive"] == 0.5 and found["iiou_adaptive"] == 0
    without = test.only(set(PAIRS) - {"cat_dog_7_dog"})
    assert scores(without, perfect(test))["iiou_adaptive"] == 1  # of the whole picture alone


def test_another_list_than_is3s_is_told(tmp_path: Path) -> None:
    write_listed(tmp_path / "synthetic3240_bbox.json", {"alone": BOX, "v1_1": BOX, "v1_2": BOX})
    test = load("is3", tmp_path)
    assert "1 clip (alone) without exactly two sounds of a picture" in lines(test)
    assert "has 3 rows, the published test 6,480" in lines(test)


def test_drawn_rows_keep_pictures_whole(tmp_path: Path) -> None:
    """As a bootstrap draws them: both sounds of a picture together, and as often as it is drawn."""
    write_listed(tmp_path / "synthetic3240_bbox.json", PAIRS)
    test = load("is3", tmp_path)
    left = np.broadcast_to(-np.arange(SIZE), (SIZE, SIZE))
    truths = perfect(test)

    def source(pairs: Sequence[Pair]) -> Maps:
        """Maps that are right about the first picture, and do not listen in the second."""
        maps = truths(pairs)
        maps[[pair.video.startswith("owl") for pair in pairs]] = left
        return maps

    scored = test.score(source)
    assert scored.clips == ["cat_dog_7"] * 2 + ["owl_car"] * 2
    assert scored.drawn(np.arange(4)) == pytest.approx(scored.scores["all"], nan_ok=True)
    twice = scored.drawn(np.array([0, 1, 0, 1, 2, 3]))
    assert twice["iiou_adaptive"] == pytest.approx(2 / 3)
    assert twice["loc_acc_adaptive"] == pytest.approx(5 / 6)


def test_corners_in_pixels_stay_those_of_the_list(tmp_path: Path) -> None:
    """Truncated as they are: as shares of the side 47 could become 46.99."""
    boxes = {f"a_{i}_x": [i, 0, i + 1.9, 1] for i in range(0, 223)}
    write_listed(tmp_path / "vpo_ss_bbox.json", boxes)
    test = load("vpo-ss", tmp_path)
    drawn = test.draw(list(test.boxes.values()))
    assert all(drawn[i, 0].nonzero()[0].tolist() == [i] for i in range(223))
    assert "has 223 rows, the published test 890" in lines(test)
    shown = test.truth(Pair("a_56_x", "a_56_x"), positive=True).sounding
    assert shown == pytest.approx(np.array([[56, 0, 57.9, 1]]) / SIZE)


def test_boxes_out_of_the_frame_and_without_area_are_told(tmp_path: Path) -> None:
    boxes = {
        "over_1": [-5, 0, 300, 100], "bare_2": [0, 0, 0, 0], "none_3": [float("nan"), 0, 1, 1],
        "fine_4": BOX,
    }  # fmt: skip
    write_listed(tmp_path / "vpo_ms_bbox.json", boxes)
    test = load("vpo-ms", tmp_path)
    assert "1 clip (over_1) with boxes out of the frame, clipped" in lines(test)
    assert "2 clips (bare_2, none_3) whose boxes have no area: cIoU is 0 there" in lines(test)
    assert "1 clip (none_3) with boxes that hold no number" in lines(test)
    samples = test.score(perfect(test)).samples
    assert [sample["area_px"] for sample in samples] == [224 * 100, 0, 0, 100 * 100]
    assert test.num_official == 4


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([{"image": "a.jpg", "audio": "a.wav", "gt_box": "gt/a.png", "offset": 1}],
         "names masks, not boxes"),
        ({"a/b/c.jpg": {"bbox": []}}, "not a list of pictures with a box each"),
        ([{"file": "a", "class": "x", "bbox": []}], "not a list of pictures with a box each"),
        ([{"image": "x/a.jpg", "audio": "", "gt_box": BOX}] * 2, "a comes twice"),
        ([{"image": "x/a.jpg", "audio": "", "gt_box": BOX[:3]}], "not a list of pictures"),
        ([], "is empty"),
    ],
)  # fmt: skip
def test_another_json_is_refused(content: Any, told: str, tmp_path: Path) -> None:
    (tmp_path / "vpo_ss_bbox.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=told) as raised:
        load("vpo-ss", tmp_path)
    assert "vpo_ss_bbox.json" in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    for name, file in (
        ("is3", r"synthetic3240_bbox\.json and no IS3_annotation\.json"),
        ("vpo-ms", r"vpo_ms_bbox\.json"),
        ("music-solo", r"solotest\.json and no dsol_solotest\.json"),
        ("music-duet", r"duettest\.json"),
        ("music-solo-avgn", r"music_solo\.json and no avgn_music_solo\.json"),
        ("vggsound-duet", r"vggsound_duet_test\.csv"),
        ("avsbench-s4", r"no masks in gt_masks and no s4_box\.json"),
    ):
        with pytest.raises(InputError, match=f"has no {file}" if name[0] != "a" else file):
            load(name, tmp_path)


# --- AVSBench ---


def some_maps(pairs: Sequence[Pair]) -> Maps:
    """Maps of random squares of 8 x 8 pixels, from -1 to 1."""
    found = [
        np.random.default_rng([ord(c) for c in pair.video]).uniform(-1, 1, (28, 28))
        for pair in pairs
    ]
    return np.stack(found).repeat(8, 1).repeat(8, 2).astype(np.float32)


def test_avsbench_in_the_official_folders(tmp_path: Path) -> None:
    test = load("avsbench-s4", write_s4(tmp_path, {"v1": BOX, "v2": [0, 0, 50, 50]}))
    assert [item.pair.video for item in test.items] == FRAMES
    assert {item.label for item in test.items} == {"dog"}
    assert "has 10 frames, the published test 3,700" in lines(test)
    found = scores(test, perfect(test))
    assert found["miou_adaptive"] == pytest.approx(1, abs=1e-6) and found["f_measure"] == 1
    by_hand = [100 * 100 / (SIZE**2 / 2), 50 * 50 / (SIZE**2 / 2)]
    sure = perfect(test)
    random = np.random.default_rng(0).random((SIZE, SIZE)) / 2
    halved = scores(test, lambda pairs: sure(pairs) + random)
    assert halved["miou"] == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert halved["f_measure"] == 1  # one threshold finds all of it
    names = test.score(some_maps, PROTOCOLS["avsbench"]).scores["all"]
    assert {"miou", "miou_median", "miou_adaptive", "f_measure"} <= set(names)


def test_avsbench_as_released_has_its_list_beside_the_data(tmp_path: Path) -> None:
    """`Single-source/s4_meta_data.csv` beside `Single-source/s4_data/gt_masks`."""
    write_s4(tmp_path / "Single-source/s4_data", {"v1": BOX})
    above = tmp_path / "Single-source"
    (above / "s4_data/s4_meta_data.csv").rename(above / "s4_meta_data.csv")
    for folder in (above, above / "s4_data"):
        test = load("avsbench-s4", folder)
        assert [item.pair.video for item in test.items] == FRAMES[:5]


def test_avsbench_with_flat_ids_is_the_same(tmp_path: Path) -> None:
    official = write_s4(tmp_path / "official", {"v1": BOX, "v2": [0, 0, 50, 50]})
    flat = tmp_path / "flat"
    (flat / "gt_masks").mkdir(parents=True)
    for path in official.rglob("*.png"):
        shutil.copy(path, flat / "gt_masks" / path.name)
    (flat / "avs1_s4_test.csv").write_text("".join(f"{name},dog\n" for name in FRAMES))
    found = [scores(load("avsbench-s4", folder), some_maps) for folder in (official, flat)]
    assert found[0] == pytest.approx(found[1], nan_ok=True)


def test_avsbench_with_boxes_alone_and_with_both(tmp_path: Path) -> None:
    """Boxes are the truth of cIoU wherever they are, masks that of mIoU and F."""
    folder = "x/v1"
    rows = {f"v1.mp4_{number}": BOX for number in range(1, 6)}
    write_listed(tmp_path / "ms3_box.json", rows, folder)
    test = load("avsbench-ms3", tmp_path)
    assert [item.pair.video for item in test.items] == FRAMES[:5]
    assert "miou" not in scores(test, some_maps)
    for name in FRAMES[:5]:
        write_mask(tmp_path / f"gt_masks/test/v1/{name}.png", box_mask([20, 30, 120, 80]))
    both = load("avsbench-ms3", tmp_path)
    found = scores(both, perfect(test))
    assert found["loc_acc_adaptive"] == 1
    assert 0.4 < found["miou_adaptive"] <= 0.5 + 1e-6  # the mask is half of the box
    assert found["f_measure"] == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))
    assert "has 5 frames, the published test 320" in lines(both)


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG with its length and CRC."""
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [
        (b"", b"\x00\x00\x00\x04\x00\x01\x02\x03bad!", b""),
        (chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(3_000_000))), b"", b""),
        (chunk(b"iCCP", b"key\0\0" + zlib.compress(bytes(3_000_000))), b"", b""),
        (b"", b"", chunk(b"tRNS", b"")),
        (b"\x7f\xff\xff\xffzTXt", b"", b""),
    ],
    ids=["bad chunk", "text of 3 MB", "profile of 3 MB", "empty tRNS", "2 GB that are not there"],
)
def test_a_damaged_mask_is_one_line(
    before: bytes, between: bytes, after: bytes, tmp_path: Path
) -> None:
    """Chunks are put before, between and after those that hold the pixels."""
    path = tmp_path / "mask.png"
    write_mask(path, box_mask(BOX))
    whole = path.read_bytes()
    header, pixels, end = whole[:33], whole[41:-16], whole[-12:]
    parts = chunk(b"IDAT", pixels[:20]) + between + chunk(b"IDAT", pixels[20:])
    path.write_bytes(header + parts + end)
    assert between or read_mask(path).any()
    path.write_bytes(header + before + parts + after + end)
    with pytest.raises(InputError) as raised:
        read_mask(path)
    assert str(raised.value).startswith(f"{path}") and "\n" not in str(raised.value)


def test_masks_that_are_missing_empty_or_of_another_size_are_told(tmp_path: Path) -> None:
    """Official are the frames with a mask; the rest are named, as of a release that lacks some."""
    folder = write_s4(tmp_path, {"v1": BOX, "v2": BOX})
    masks = folder / "gt_masks/test/dog"
    (masks / "v1/v1_2.png").unlink()
    write_mask(masks / "v2/v2_1.png", np.zeros((SIZE, SIZE), np.uint8))
    write_mask(masks / "v2/v2_2.png", box_mask([40, 60, 240, 260], (448, 448)))
    test = load("avsbench-s4", folder)
    assert test.num_official == len(test.items) == 9
    assert "1 clip (v1_2) of 10 without a mask in" in lines(test)
    assert "1 clip (v2_2) with masks that are not 224 x 224" in lines(test)
    assert "1 clip (v2_1) whose masks are empty" in lines(test)
    found = scores(test, perfect(test))
    # nothing is to find in the empty one: the adaptive rule predicts nothing there, and F skips it
    assert found["miou_adaptive"] == pytest.approx(1, abs=1e-6) and found["f_measure"] == 1
    assert found["loc_acc_adaptive"] == pytest.approx(8 / 9)
    write_mask(masks / "v1/copy/v1_1.png", box_mask(BOX))
    with pytest.raises(InputError, match="two masks of v1_1; remove one"):
        load("avsbench-s4", folder)
    (masks / "v1/copy/v1_1.png").unlink()
    (masks / "v2/v2_3.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"v2_3\.png is not a picture"):
        load("avsbench-s4", folder)


def test_lists_of_avsbench_that_are_wrong(tmp_path: Path) -> None:
    folder = write_s4(tmp_path, {"v1": BOX})
    (folder / "s4_meta_data.csv").write_text("name,split\nv9,test\n")
    with pytest.raises(InputError, match="none of its 5 frames has a mask or a box"):
        load("avsbench-s4", folder)
    (folder / "s4_meta_data.csv").write_text("name,split\nv1,test\nv1,test\n")
    with pytest.raises(InputError, match=r"s4_meta_data\.csv: v1 comes twice"):
        load("avsbench-s4", folder)
    (folder / "s4_meta_data.csv").write_text("name,split\nv1,val\n")
    with pytest.raises(InputError, match=r"s4_meta_data\.csv: no video of split test"):
        load("avsbench-s4", folder)
    (folder / "s4_meta_data.csv").unlink()
    with pytest.raises(InputError, match=r"no s4_meta_data\.csv and no avs1_s4_test\.csv"):
        load("avsbench-s4", folder)


# --- MUSIC ---

SOLO = {f"cello{i}_0_1000/frame_013/0041{i}.jpg": {1: [0.1, 0.1, 0.5, 0.5]} for i in range(2)}


def test_dsols_boxes_are_places_and_sizes(tmp_path: Path) -> None:
    write_dsol(tmp_path / "solotest.json", {**SOLO, "bare/frame_0/0.jpg": {}})
    test = load("music-solo", tmp_path)
    name = "cello0_0_1000__frame_013__00410"
    assert test.items[0].pair == Pair(name, name) and test.items[0].label == "cello"
    assert "1 of 3 frames have no box, left out" in lines(test) and test.num_official == 2
    drawn = test.draw([test.boxes[name]])[0]
    rows = np.flatnonzero(drawn.any(1))
    assert (rows[0], rows[-1] + 1) == (int(0.1 * SIZE), int(0.6 * SIZE))  # not 0.5
    found = scores(test, perfect(test))
    assert found["peak_30"] == found["peak_50"] == found["peak_auc"] == 1


def duet_of_two(folder: Path) -> Annotated:
    """Two frames: a cello left and a flute right; a flute alone."""
    solos = {f"s{c}/frame_1/0{c}.jpg": {c: [0, 0, 0.2, 0.2]} for c in (1, 3, 8, 10, 11, 12, 13)}
    write_dsol(folder / "solotest.json", {**solos, "t1/frame_1/9.jpg": {1: [0, 0, 1, 1]}})
    frames = {
        "d/frame_1/1.jpg": {1: [0, 0, 0.4, 1], 12: [0.6, 0, 0.4, 1]},
        "d/frame_2/2.jpg": {12: [0.2, 0.2, 0.5, 0.5]},
        "d/frame_3/3.jpg": {},
    }
    write_dsol(folder / "duettest.json", frames)
    return load("music-duet", folder)


def test_a_duet_has_a_map_for_each_class(tmp_path: Path) -> None:
    test = duet_of_two(tmp_path)
    assert len(test.items) == 14 and test.num_official == 3
    sounds = {item.label: item.pair.audio for item in test.items}
    assert sounds["cello"] == "s1__frame_1__01" and sounds["flute"] == "s12__frame_1__012"
    sure = perfect(test)
    found = scores(test, lambda pairs: 10 * sure(pairs))
    assert found["duet_30"] == found["duet_50"] == found["duet_auc"] == 1
    assert found["nsa"] == 1  # where nothing sounds seven classes share the map: a seventh each
    assert found["loc_acc_adaptive"] == 1
    shown = [test.truth(item.pair, positive=True).sounding for item in test.items[:7]]
    assert shown[0].tolist() == [[0, 0, 0.4, 1]] and len(shown[1]) == 0
    # the maps of all classes compete: without one's sound a picture would be another task
    assert not test.only(set(test.clip_ids) - {sounds["violin"]}).items
    rest = test.only(set(test.clip_ids) - {"d__frame_2__2"})
    assert scores(rest, lambda pairs: 10 * sure(pairs))["duet_auc"] == 1 and len(rest.items) == 7


def test_sounds_are_not_exchanged_where_a_frame_has_several_truths(tmp_path: Path) -> None:
    test = duet_of_two(tmp_path)
    assert test.controls(perfect(test), PROTOCOLS["avpipe"]) == {}
    assert len(test.pairs()) == len(test.items)


def test_a_map_that_does_not_follow_the_sound_finds_no_class(tmp_path: Path) -> None:
    test = duet_of_two(tmp_path)
    left = np.broadcast_to(np.arange(SIZE) < 90, (SIZE, SIZE)).astype(np.float32)
    found = scores(test, lambda pairs: np.stack([left] * len(pairs)))
    assert found["duet_50"] == 0  # all maps are alike, so all pixels of all classes are predicted


def test_a_duet_without_a_solo_of_some_class(tmp_path: Path) -> None:
    write_dsol(tmp_path / "duettest.json", SOLO)
    write_dsol(tmp_path / "solotest.json", SOLO)
    with pytest.raises(InputError, match=r"solotest\.json has no frame of acoustic_guitar"):
        load("music-duet", tmp_path)


def write_avgn(folder: Path) -> Path:
    solo = [{"file": "a", "class": "cello", "bbox": [0.25, 0.25, 0.5, 0.125]}]
    duet = [
        {
            "file": "b", "class_src1": "cello", "bbox_src1": [0, 0, 0.5, 0.5],
            "class_src2": "flute", "bbox_src2": [0.5, 0.5, 0.25, 0.5],
        }
    ]  # fmt: skip
    (folder / "music_solo.json").write_text(json.dumps(solo))
    (folder / "music_duet.json").write_text(json.dumps(duet))
    return folder


def test_two_readings_of_avgns_boxes(tmp_path: Path) -> None:
    """As sizes the solo's box is 112 x 28 pixels, as corners it is none."""
    write_avgn(tmp_path)
    ours, theirs = (load("music-solo-avgn", tmp_path, name) for name in ("avpipe", "avgn"))
    areas = [test.draw(list(test.boxes.values())).sum() for test in (ours, theirs)]
    assert areas == [112 * 28, 0]
    assert all("1 of 1 have no area" in lines(test) for test in (ours, theirs))
    assert (
        scores(ours, perfect(ours))["joint_auc"]
        > scores(theirs, perfect(ours), "avgn")["joint_auc"]
    )
    assert load_benchmark("music-solo-avgn", tmp_path).notices == ours.notices


def test_a_duet_of_avgn_is_one_truth_or_two(tmp_path: Path) -> None:
    write_avgn(tmp_path)
    ours, theirs = (load("music-duet-avgn", tmp_path, name) for name in ("avpipe", "avgn"))
    assert len(ours.items) == 1 and len(theirs.items) == 2
    assert theirs.pairs() == ours.pairs() == [Pair("b", "b")]
    both = ours.draw([ours.boxes["b"]])[0]
    assert both.sum() == 112 * 112 + 56 * 112
    top = np.zeros((1, SIZE, SIZE), np.float32)
    top[0, :112] = 1  # exactly half of the pixels
    # the box of 0, 0, 0.5, 0.5 as corners, and the other, which is none so
    hit, either = 112 * 112, 112 * SIZE + 112 * SIZE
    rows = theirs.score(lambda pairs: top.repeat(len(pairs), 0), PROTOCOLS["avgn"])
    assert rows.more is not None
    assert rows.more[:, 0].sum() / rows.more[:, 1].sum() == hit / either
    found = scores(ours, lambda pairs: top)
    assert found["joint_30"] == 1 and found["joint_50"] == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([{"file": "a", "class": "x", "bbox": [[0, 0, 1, 1]]}], "not music_solo.json of AVGN"),
        ([{"file": "a", "bbox": [0, 0, 1, 1]}], "not music_solo.json of AVGN"),
        ([{"file": "a", "class": "x", "bbox": [0, 0, 1, 1]}] * 2, "a comes twice"),
    ],
)
def test_another_file_than_avgns(content: Any, told: str, tmp_path: Path) -> None:
    (tmp_path / "music_solo.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=told):
        load("music-solo-avgn", tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([{"image": "a.jpg", "gt_box": BOX}], "not the boxes of MUSIC's frames"),
        ({"a/b/c.jpg": {"bbox": [{"normbox": [0, 0, 1, 1], "category_id": 99}]}}, "MUSIC's frames"),
        ({"a/b/c.jpg": {"bbox": []}}, "none of its 1 frames has a box"),
    ],
)
def test_another_file_than_dsols(content: Any, told: str, tmp_path: Path) -> None:
    (tmp_path / "solotest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=told):
        load("music-solo", tmp_path)


# --- VGGSound single and duet, VGGSounder ---

CLIPS = [f"clip{number:03d}" for number in range(4)]


def test_a_duet_of_two_clips_is_heard_with_both_pictures(tmp_path: Path) -> None:
    write_vggss(tmp_path, CLIPS)
    (tmp_path / "vggsound_duet_test.csv").write_text("clip000,x,clip003,y\nclip001,x,clip002,y\n")
    test = load("vggsound-duet", tmp_path)
    assert [item.pair for item in test.items[:2]] == [
        Pair("clip000", "clip000/clip003"),
        Pair("clip003", "clip000/clip003"),
    ]
    assert test.clip_ids == ["clip000", "clip003", "clip001", "clip002"]
    whole = test.only({"clip000", "clip001", "clip002"})  # half of a duet is none
    assert [item.pair.video for item in whole.items] == ["clip001", "clip002"]
    assert test.score(some_maps).headline({"clip003"})[0] == 2
    found = scores(test, perfect(test))
    assert found["piap"] == 1 and found["loc_acc_adaptive"] == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("clip000,x", "is not id,class,id,class"),
        ("clip000,x,clip009,y", "clip009 is in no entry of vggss.json"),
        ("clip000,x,clip000,x", "a duet of clip000 with itself"),
        ("clip000,x,clip001,x\nclip000,x,clip001,x", "clip000 with clip001 comes twice"),
        ("", "is empty"),
    ],
)
def test_lists_of_duets_that_are_wrong(line: str, told: str, tmp_path: Path) -> None:
    write_vggss(tmp_path, CLIPS)
    (tmp_path / "vggsound_duet_test.csv").write_text(line + "\n")
    with pytest.raises(InputError, match=told):
        load("vggsound-duet", tmp_path)


def test_vggss_with_what_vggsounder_judges(tmp_path: Path) -> None:
    write_vggss(tmp_path, [*CLIPS, "clip004"])
    rows = [
        "video_id,label,modality,background_music,static_image,voice_over",
        "clip000,class0,AV,False,False,False", "clip000,other,A,False,False,False",
        "clip001,class0,A,False,True,False", "clip002,other,AV,False,False,False",
        "clip003,class1,V,False,False,False", "elsewhere,class0,AV,False,False,False",
    ]  # fmt: skip
    (tmp_path / "vggsounder.csv").write_text("\n".join(rows) + "\n")
    test = load("vggss", tmp_path)
    assert {name: sorted(clips) for name, clips in test.lists.items()} == {
        "seen-and-heard": ["clip000"], "heard-only": ["clip001"], "seen-only": ["clip003"],
        "no-longer": ["clip002"], "static": ["clip001"], "not-judged": ["clip004"],
    }  # fmt: skip
    by_subset = test.score(perfect(test)).scores
    assert by_subset["seen-and-heard"]["loc_acc_adaptive"] == 1
    for odd, told in (
        ("clip000,class0,X,False,False,False", "modality is 'X'"),
        ("clip000,class0,A,False,maybe,False", "static_image is 'maybe', not True or False"),
        (f"{rows[1]}\n{rows[1]}", "class0 of clip000 comes twice"),
        (rows[-1], "judges none of the 5 clips that have boxes"),
    ):
        (tmp_path / "vggsounder.csv").write_text("\n".join([rows[0], odd]) + "\n")
        with pytest.raises(InputError, match=rf"vggsounder\.csv:? {told}"):
            load("vggss", tmp_path)
