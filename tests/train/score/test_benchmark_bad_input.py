"""Every benchmark, every kind of bad annotations: one line, and nothing scored on fewer clips."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.errors import InputError
from avpipe.train.benchmarks import Benchmark, benchmark_names, load_benchmark
from benchmark_factory import SIZE, write_dsol, write_listed, write_mask, write_s4
from evaluation_factory import write_flickr, write_lines, write_vggss, write_world

CLIPS = [f"clip{number:03d}" for number in range(4)]
BOX = [20.0, 30.0, 120.0, 130.0]
PAIRS = {"cat_dog_7_cat": BOX, "cat_dog_7_dog": BOX}
FRAMES = {f"v1_{number}": BOX for number in range(1, 6)}
SOLOS = {f"s{c}/frame_1/{c}.jpg": {c: [0, 0, 0.2, 0.2]} for c in (1, 3, 8, 10, 11, 12, 13)}


def vggss(folder: Path) -> Path:
    write_vggss(folder, CLIPS, negatives=3)
    for name in ("vggss_heard_test.csv", "vggss_unheard_test.csv", "vggsound_single_test.csv"):
        write_lines(folder / name, CLIPS)
    write_lines(folder / "vggsound_duet_test.csv", ["clip000,a,clip003,b", "clip001,a,clip002,b"])
    return folder


def flickr(folder: Path) -> Path:
    boxes = {"one": [[[10, 10, 100, 100]]], "two": [[[10, 10, 100, 100]]]}
    return write_flickr(folder, boxes)


def music(folder: Path) -> Path:
    write_dsol(folder / "solotest.json", SOLOS)
    write_dsol(folder / "duettest.json", {"d/frame_1/1.jpg": {1: [0, 0, 0.4, 1]}})
    return folder


def avgn(folder: Path) -> Path:
    solo = {"file": "a", "class": "cello", "bbox": [0.25, 0.25, 0.5, 0.125]}
    duet = {
        "file": "b", "class_src1": "cello", "bbox_src1": [0, 0, 0.5, 0.5],
        "class_src2": "flute", "bbox_src2": [0.5, 0.5, 0.25, 0.5],
    }  # fmt: skip
    (folder / "music_solo.json").write_text(json.dumps([solo]))
    (folder / "music_duet.json").write_text(json.dumps([duet]))
    return folder


def listed(file: str, boxes: dict[str, list[float]]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_listed(folder / file, boxes)
        return folder

    return write


def avatar(folder: Path) -> Path:
    entry = {"task": "Single-sound", "segmentation": [[0, 0, 100, 0, 100, 100]]}
    frame = {"original_width": SIZE, "original_height": SIZE, "annotations": [entry]}
    for name in ("v/1.json", "w/1.json"):
        (folder / "metadata" / name).parent.mkdir(parents=True)
        (folder / "metadata" / name).write_text(json.dumps(frame))
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "avatar": avatar,
    "avsbench-ms3": listed("ms3_box.json", FRAMES),
    "avsbench-s4": lambda folder: write_s4(folder, {"v1": BOX}),
    "flickr": lambda folder: flickr(folder / "f"),
    "flickr-extended": lambda folder: flickr(folder / "f"),
    "is3": listed("synthetic3240_bbox.json", PAIRS),
    "music-duet": music,
    "music-duet-avgn": avgn,
    "music-solo": music,
    "music-solo-avgn": avgn,
    "retrieval": vggss,
    "synth": write_world,
    "vggsound-duet": vggss,
    "vggsound-single": vggss,
    "vggss": vggss,
    "vggss-extended": vggss,
    "vggss-heard": vggss,
    "vggss-unheard": vggss,
    "vpo-ms": listed("vpo_ms_bbox.json", PAIRS),
    "vpo-ss": listed("vpo_ss_bbox.json", PAIRS),
}
MAIN = {
    "avatar": "metadata/v/1.json", "avsbench-ms3": "ms3_box.json",
    "avsbench-s4": "s4_meta_data.csv", "flickr": "flickr_test.csv",
    "flickr-extended": "flickr_test_plus_silent.csv", "is3": "synthetic3240_bbox.json",
    "music-duet": "duettest.json", "music-duet-avgn": "music_duet.json",
    "music-solo": "solotest.json", "music-solo-avgn": "music_solo.json",
    "retrieval": "vggss.json", "synth": "swapped.csv", "vggsound-duet": "vggsound_duet_test.csv",
    "vggsound-single": "vggsound_single_test.csv", "vggss": "vggss.json",
    "vggss-extended": "vggss_test_plus_silent.csv", "vggss-heard": "vggss_heard_test.csv",
    "vggss-unheard": "vggss_unheard_test.csv", "vpo-ms": "vpo_ms_bbox.json",
    "vpo-ss": "vpo_ss_bbox.json",
}  # fmt: skip
"""The file of each that no other benchmark has, as far as there is one."""
ALIKE = [
    {"avsbench-ms3", "is3", "vpo-ms", "vpo-ss"},
    {"music-duet", "music-solo"},
    {"retrieval", "vggss"},
]
"""Whose JSON has the same form, so that only its count tells it."""

JSON = [name for name in MAIN if MAIN[name].endswith(".json")]


def made(name: str, folder: Path) -> tuple[Path, Path]:
    """Write the annotations of a benchmark; return the folder and its own file."""
    folder.mkdir(parents=True, exist_ok=True)
    where = WRITERS[name](folder)
    return where, where / MAIN[name]


def refused(name: str, folder: Path) -> str:
    """Return the line that refuses annotations."""
    with pytest.raises(InputError) as raised:
        load_benchmark(name, folder)
    line = str(raised.value)
    assert "\n" not in line and line
    return line


def told(name: str, folder: Path) -> str:
    """Return the lines below the table, each of which is one."""
    notices = load_benchmark(name, folder).notices
    assert all("\n" not in line for line in notices)
    return "\n".join(notices)


def test_every_benchmark_is_tried(tmp_path: Path) -> None:
    assert set(WRITERS) == set(benchmark_names()) == set(MAIN)
    for name in WRITERS:
        folder, file = made(name, tmp_path / name)
        test: Benchmark = load_benchmark(name, folder)
        assert file.is_file() and test.num_official > 0, name


@pytest.mark.parametrize("name", MAIN)
def test_files_that_are_missing_empty_or_none_of_the_kind(name: str, tmp_path: Path) -> None:
    folder, file = made(name, tmp_path)
    if name != "avatar":  # whose frames are the files there are
        assert file.name in refused_without(name, folder, file)
    for content in (
        b"",
        b"\xff\xfe\x00garbage",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"[1, 2]",
        b'{"a": 1}',
    ):
        file.write_bytes(content)
        line = refused(name, folder)
        assert file.name in line or str(folder) in line, (content, line)


def refused_without(name: str, folder: Path, file: Path) -> str:
    content = file.read_bytes()
    file.unlink()
    line = refused(name, folder)
    file.write_bytes(content)
    return line


def others() -> Iterator[tuple[str, str]]:
    for name in JSON:
        for other in JSON:
            if name != other and not any({name, other} <= alike for alike in ALIKE):
                yield name, other


@pytest.mark.parametrize(("name", "other"), list(others()))
def test_one_json_for_another(name: str, other: str, tmp_path: Path) -> None:
    folder, file = made(name, tmp_path / "own")
    _, foreign = made(other, tmp_path / "other")
    file.write_bytes(foreign.read_bytes())
    assert file.name in refused(name, folder)


@pytest.mark.parametrize("alike", ALIKE, ids=lambda names: "-".join(sorted(names)))
def test_one_json_for_another_of_its_form_is_told_by_its_count(
    alike: set[str], tmp_path: Path
) -> None:
    for name in alike:
        folder, _ = made(name, tmp_path / name)
        assert "the published test" in told(name, folder)


@pytest.mark.parametrize("name", [name for name in MAIN if name != "avatar"])
def test_an_id_that_comes_twice(name: str, tmp_path: Path) -> None:
    folder, file = made(name, tmp_path)
    if file.suffix == ".json":
        entries = json.loads(file.read_text())
        if isinstance(entries, dict):
            first = json.dumps(entries)
            file.write_text(f"{first[:-1]}, {first[1:]}")
        else:
            file.write_text(json.dumps([*entries, entries[0]]))
    else:
        lines = file.read_text().splitlines()
        file.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert "comes twice" in refused(name, folder)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("vggss-heard", "clip000\nnobody\n", "nobody is in no entry of vggss.json"),
        ("vggss-unheard", "nobody\n", "nobody is in no entry of vggss.json"),
        ("vggsound-single", "clip000\nnobody\n", "nobody is in no entry of vggss.json"),
        ("vggsound-duet", "clip000,a,nobody,b\n", "nobody is in no entry of vggss.json"),
        ("vggss-extended", "video,audio\nclip000,nobody\n", "nobody is in no entry of vggss.json"),
        ("vggss-extended", "video,audio\nnobody,clip000\n", "nobody is in no entry of vggss.json"),
        ("flickr-extended", "video,audio\none,nobody\n", "nobody is not in flickr_test.csv"),
        ("flickr-extended", "video,audio\nnobody,one\n", "nobody is not in flickr_test.csv"),
        ("avsbench-s4", "name,category,split\nnobody,x,test\n", "none of its 5 frames has a mask"),
        ("synth", "video,audio,silent\nclip014,nobody,0\n", "do not agree on 'nobody'"),
    ],
)
def test_ids_that_nobody_knows(name: str, content: str, line: str, tmp_path: Path) -> None:
    folder, file = made(name, tmp_path)
    file.write_text(content)
    assert line in refused(name, folder)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("synth", "video,audio,silent\nclip014,clip015,0,1\n", "more than the 3 cells of its"),
        ("synth", f"video,audio,silent\nclip014,clip015,{'9' * 5000}\n", "no number of a box"),
        ("vggss-extended", "video,audio\nclip000,clip001,1\n", "more than the 2 cells of its"),
    ],
)
def test_cells_that_are_none_are_one_short_line(
    name: str, content: str, line: str, tmp_path: Path
) -> None:
    folder, file = made(name, tmp_path)
    file.write_text(content)
    told = refused(name, folder)
    assert line in told and len(told) < len(str(folder)) + 200


def test_what_a_list_beside_the_boxes_does_not_know_is_told(tmp_path: Path) -> None:
    folder, _ = made("vggss", tmp_path)
    write_lines(folder / "vggss_heard_test.csv", ["clip000", "nobody"])
    assert "vggss_heard_test.csv: 1 clip (nobody) without boxes, left out" in told("vggss", folder)
    rows = ["video_id,label,modality,static_image", "clip000,renamed,AV,False"]
    write_lines(folder / "vggsounder.csv", rows)
    assert "vggsounder.csv: 1 classes that it does not know (class0, ...)" in told("vggss", folder)


def set_boxes(name: str, file: Path, box: list[Any]) -> None:
    """Let the first clip of a file have one box; `box` is x1, y1, x2, y2 in shares of the sides."""
    entries = json.loads(file.read_text())
    x1, y1, x2, y2 = box
    if isinstance(entries, dict):
        next(iter(entries.values()))["bbox"][0]["normbox"] = [x1, y1, x2 - x1, y2 - y1]
    elif "gt_box" in entries[0]:
        entries[0]["gt_box"] = [SIZE * value for value in box]
    elif name.endswith("avgn"):
        key = next(key for key in entries[0] if key.startswith("bbox"))
        entries[0][key] = [x1, y1, x2 - x1, y2 - y1]
    else:
        entries[0]["bbox"] = [box]
    file.write_text(json.dumps(entries))


@pytest.mark.parametrize("name", [name for name in JSON if name not in ("avatar", "retrieval")])
def test_boxes_out_of_the_frame_without_area_or_numbers(name: str, tmp_path: Path) -> None:
    folder, file = made(name, tmp_path)
    set_boxes(name, file, [-0.5, 0.1, 0.6, 0.7])
    assert "1 clip " in told(name, folder)
    assert "with boxes out of the frame, clipped to it" in told(name, folder)
    official = load_benchmark(name, folder).num_official
    set_boxes(name, file, [0.5, 0.5, 0.5, 0.5])
    if name != "music-duet-avgn":  # whose other box is the clip's truth too
        assert "whose boxes have no area: cIoU is 0 there" in told(name, folder)
    assert load_benchmark(name, folder).num_official == official
    set_boxes(name, file, [float("nan"), 0.1, 0.6, 0.7])
    try:
        assert "with boxes that hold no number, left out" in told(name, folder)
    except InputError as error:
        assert "is not a box" in str(error) and "\n" not in str(error)


def test_flickrs_boxes_out_of_the_frame_and_files_of_one_clip(tmp_path: Path) -> None:
    folder = write_flickr(tmp_path / "f", {"one": [[[-10, 10, 300, 100]]], "two": [[]]})
    lines = told("flickr", folder)
    assert "1 clip (one) with boxes out of the frame, clipped to it" in lines
    assert "1 clip (two) whose boxes have no area: cIoU is 0 there" in lines
    (folder / "one.xml").write_bytes((folder / "xml/one.xml").read_bytes())
    assert "two files of a clip; remove one" in refused("flickr", folder)
    (folder / "one.xml").unlink()
    (folder / "xml/two.xml").unlink()
    test = load_benchmark("flickr", folder)
    assert list(test.left_out) == ["two"] and test.num_official == 2


def test_a_clip_of_avgn_has_a_class_once(tmp_path: Path) -> None:
    """The second box would take the place of the first."""
    folder, file = made("music-duet-avgn", tmp_path)
    entries = json.loads(file.read_text())
    entries[0]["class_src2"] = "cello"
    file.write_text(json.dumps(entries))
    assert "b has cello twice" in refused("music-duet-avgn", folder)


def test_boxes_of_four_bare_numbers_are_another_formats(tmp_path: Path) -> None:
    """AVGN's x, y, width, height would pass for corners."""
    folder, file = made("vggss", tmp_path)
    entries = [{"file": "a", "class": "x", "bbox": [0.1, 0.1, 0.5, 0.5]}]
    file.write_text(json.dumps(entries))
    for name in ("vggss", "retrieval", "vggss-extended", "vggsound-duet"):
        assert "not the boxes of clips" in refused(name, folder)


def test_masks_and_boxes_that_do_not_agree_are_told_apart(tmp_path: Path) -> None:
    """All names stand in `left_out`, however many there are."""
    folder, _ = made("avsbench-s4", tmp_path)
    write_listed(folder / "s4_box.json", {**dict(list(FRAMES.items())[:4]), "stray_1": BOX})
    (folder / "gt_masks/test/dog/v1/v1_1.png").unlink()
    lines = told("avsbench-s4", folder)
    assert "1 clip (v1_1) of 5 without a mask" in lines
    assert "1 clip (v1_5) of 5 without a box" in lines
    assert "1 clip (stray_1) that s4_meta_data.csv does not list, left out" in lines
    test = load_benchmark("avsbench-s4", folder)
    assert list(test.left_out) == ["v1_1", "v1_5"] and test.num_official == 3


def test_54_of_500_masks_were_not_released(tmp_path: Path) -> None:
    """The official number is that of the frames with one, and the rest are all named."""
    names = [f"v{video}" for video in range(100)]
    lines = [f"{name},dog,test" for name in names]
    write_lines(tmp_path / "s4_meta_data.csv", ["name,category,split", *lines])
    frames = [f"{name}_{number}" for name in names for number in range(1, 6)]
    gone = set(np.random.default_rng(0).choice(frames, 54, replace=False).tolist())
    for frame in frames:
        if frame not in gone:
            write_mask(tmp_path / f"gt_masks/{frame}.png", np.ones((2, 2), np.uint8))
    test = load_benchmark("avsbench-s4", tmp_path)
    assert test.num_official == 446 == len(test.clip_ids)
    assert set(test.left_out) == gone and len(test.left_out) == 54
    assert "54 clips (" in told("avsbench-s4", tmp_path)
    assert "of 500 without a mask" in told("avsbench-s4", tmp_path)


def test_clips_without_a_class_are_of_no_common_one(tmp_path: Path) -> None:
    """Two sounds of unknown classes are neither of the same nor of different ones."""
    folder, _ = made("vggss-extended", tmp_path)
    entries = json.loads((folder / "vggss.json").read_text())
    for entry in entries:
        del entry["class"]
    (folder / "vggss.json").write_text(json.dumps(entries))
    test = load_benchmark("vggss-extended", folder)
    assert test.counts["all"] == {"positive": 4, "real": 1, "negative": 2}
    blind = np.eye(4)[[1, 0, 3, 2]]
    vectors = np.stack([np.eye(4), blind], 1)
    found = load_benchmark("retrieval", folder).score(lambda pairs: vectors).scores["all"]
    assert found["a2i_r1"] == found["a2i_r1_class"] == 0


def test_what_csv_readers_hand_over(tmp_path: Path) -> None:
    folder, file = made("vggss-extended", tmp_path)
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows([["video", "audio"], ["clip000"]])
    assert "a line without audio" in refused("vggss-extended", folder)
