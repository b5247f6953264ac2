"""The synth benchmark, scored with maps whose scores are known beforehand."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from avpipe.errors import InputError, UsageError
from avpipe.stages.synth.lists import draw_pairs, lists
from avpipe.stages.synth.scenes import plan_clips
from avpipe.stages.synth.world import draw_classes
from avpipe.train.benchmarks import MapSource, Pair, benchmark_names, load_benchmark
from avpipe.train.benchmarks.synth import load
from avpipe.train.metrics import Floats, Maps
from avpipe.train.truths.right_object import SynthItem
from avpipe.train.truths.world import Synth

SIZE = 224


def write_world(folder: Path, num_objects: int = 2, clips: int = 200) -> None:
    """Write the lists of a world; nothing is rendered."""
    classes = draw_classes(3, 16)
    plan = plan_clips(3, classes, num_train=clips, num_objects=num_objects, size=(0.28, 0.42))
    for name, text in lists(plan, classes, *draw_pairs(3, plan)).items():
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world")
    write_world(path)
    return path


@pytest.fixture(scope="module")
def world(folder: Path) -> Synth:
    return load(folder)


def drawn(boxes: Floats, levels: Sequence[float]) -> Floats:
    """Paint boxes on zero ground, pixel by pixel as the truncation rule says."""
    picture = np.zeros((SIZE, SIZE))
    for (x1, y1, x2, y2), level in zip(boxes.tolist(), levels, strict=True):
        for y in range(int(y1 * SIZE), int(y2 * SIZE)):
            picture[y, int(x1 * SIZE) : int(x2 * SIZE)] = level
    return picture


def listener(folder: Path) -> MapSource:
    """Maps that are 1 on the object whose class sounds, 0.5 on others: read from labels.csv."""
    shown, sound = {}, {}
    boxes = {entry["file"]: entry["bbox"] for entry in json.loads(read(folder, "silent_boxes"))}
    sounding = {entry["file"]: entry["bbox"] for entry in json.loads(read(folder, "vggss"))}
    for line in (folder / "labels.csv").read_text().splitlines()[1:]:
        name, _, label, _, offscreen, _, silent = line.split(",")
        shown[name] = ([] if offscreen == "1" else [label]) + silent.split()
        sound[name] = label

    def source(pairs: Sequence[Pair]) -> Maps:
        maps = []
        for video, audio in pairs:
            objects = np.array(sounding.get(video, []) + boxes[video])
            levels = [1.0 if name == sound[audio] else 0.5 for name in shown[video]]
            maps.append(drawn(objects, levels))
        return np.stack(maps)

    return source


def read(folder: Path, name: str) -> str:
    return (folder / f"{name}.json").read_text()


def test_counts_are_those_of_the_lists(folder: Path, world: Synth) -> None:
    labels = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    test = [row for row in labels if row[3] == "test"]
    assert sorted(world.clip_ids) == sorted(row[0] for row in test)
    positive = {name: counts["positive"] for name, counts in world.counts.items()}
    assert positive == {
        "heard": sum(row[4:6] == ["0", "0"] for row in test),
        "unheard": sum(row[4:6] == ["0", "1"] for row in test),
    }
    negatives = (folder / "plus_silent.csv").read_text().splitlines()[1:]
    offscreen = sum(line.split(",")[0] == line.split(",")[1] for line in negatives)
    assert world.counts["heard"]["offscreen"] == offscreen
    assert world.counts["heard"]["mismatched"] == len(negatives) - offscreen
    swapped = len((folder / "swapped.csv").read_text().splitlines()) - 1
    assert sum(counts["swapped"] for counts in world.counts.values()) == swapped


def test_a_perfect_listener_scores_one(folder: Path, world: Synth) -> None:
    scored = world.score(listener(folder))
    for subset in ("heard", "unheard"):
        scores = scored.scores[subset]
        for name in ("right_object", "swapped_right_object", "loc_acc_adaptive", "auc_adaptive",
                     "ciou_mean_adaptive", "swapped_loc_acc_adaptive"):  # fmt: skip
            assert scores[name] == 1, (subset, name)
    heard = scored.scores["heard"]
    assert heard["auroc_offscreen"] == heard["auroc_mismatched"] == heard["ap_adaptive"] == 1
    assert heard["loc_acc"] == world.ceiling == 0  # half the picture is too much for these boxes
    assert math.isnan(scored.scores["unheard"]["auroc_offscreen"])  # no held-out negatives
    assert len(scored.samples) == len(world.items)


def test_a_listener_is_at_chance_when_sounds_are_shuffled(folder: Path, world: Synth) -> None:
    scores = world.score_shuffled(listener(folder))["heard"]
    assert scores["right_object"] == pytest.approx(0.5, abs=0.08)
    assert scores["auroc_offscreen"] == pytest.approx(0.5, abs=0.08)


def test_no_clip_keeps_its_sound_in_a_shuffle(world: Synth) -> None:
    seen: list[Pair] = []

    def source(pairs: Sequence[Pair]) -> Maps:
        seen.extend(pairs)
        return np.zeros((len(pairs), SIZE, SIZE))

    world.score_shuffled(source)
    rounds = np.split(np.array(seen), len(seen) // len(world.items))
    assert len(rounds) > 1
    for given in rounds:
        for item, (video, audio) in zip(world.items, given.tolist(), strict=True):
            assert video == item.pair.video
            assert audio != item.pair.audio
    assert set(seen) <= set(world.pairs())


def test_deaf_maps_move_nowhere(world: Synth) -> None:
    """The same map whatever the sound: what `right_object` gains, `swapped` loses."""

    def deaf(pairs: Sequence[Pair]) -> Maps:
        return np.stack(
            [np.random.default_rng(int(p.video[7:12])).random((SIZE, SIZE)) for p in pairs]
        )

    scores = world.score(deaf).scores["heard"]
    swapped = {item.pair.video for item in world.items if item.group == "swapped"}
    assert len(swapped) == sum(counts["positive"] for counts in world.counts.values())
    assert scores["right_object"] + scores["swapped_right_object"] == pytest.approx(1)
    assert scores["loc_acc_adaptive"] < 0.1


@pytest.mark.parametrize("num_objects", [2, 3])
def test_a_constant_map_gives_chance(tmp_path: Path, num_objects: int) -> None:
    write_world(tmp_path, num_objects, clips=60)
    scores = load(tmp_path).score(lambda pairs: np.zeros((len(pairs), SIZE, SIZE))).scores["heard"]
    for name in ("right_object", "swapped_right_object", "auroc_offscreen", "auroc_mismatched"):
        assert scores[name] == 0.5


@pytest.mark.parametrize("num_objects", [2, 3])
def test_random_true_box_is_the_mean_over_boxes(tmp_path: Path, num_objects: int) -> None:
    write_world(tmp_path, num_objects, clips=60)
    expected = []
    world = load(tmp_path)
    for item in world.items:
        if item.group == "positive" and not item.unheard:
            pixels = [drawn(box[None], [1]) > 0 for box in world.boxes[item.pair.video]]
            overlaps = [(p & pixels[0]).sum() / (p | pixels[0]).sum() for p in pixels]
            expected.append((np.mean(np.array(overlaps) >= 0.5), np.mean(overlaps)))
    found = world.score_random_box()["heard"]
    assert found["loc_acc_adaptive"] == pytest.approx(np.mean([e[0] for e in expected]))
    assert found["ciou_mean_adaptive"] == pytest.approx(np.mean([e[1] for e in expected]))
    assert found["loc_acc_adaptive"] == pytest.approx(1 / num_objects)  # boxes lie apart
    assert found["right_object"] == found["swapped_right_object"] == 0.5


def test_missing_clips_take_their_pairs_along(folder: Path, world: Synth) -> None:
    gone = {item.pair.audio for item in world.items if item.group == "swapped"}
    victim = min(gone)
    rest = world.only(set(world.clip_ids) - {victim})
    kept = [item for item in world.items if victim not in item.pair]
    assert list(rest.items) == kept
    assert len(kept) < len(world.items) - 1
    assert not any(victim in pair for pair in rest.pairs())
    assert rest.score(listener(folder)).scores["heard"]["right_object"] == 1


def test_a_nan_map_is_wrong_and_least_confident(folder: Path, world: Synth) -> None:
    hears = listener(folder)

    def broken(pairs: Sequence[Pair]) -> Maps:
        maps = hears(pairs)
        maps[:] = np.nan
        return maps

    scores = world.score(broken).scores["heard"]
    assert scores["loc_acc_adaptive"] == 0
    assert scores["right_object"] == 0


def test_unreadable_worlds_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.csv is missing; `avpipe synth"):
        load_benchmark("synth", tmp_path)
    (tmp_path / "videos").mkdir()
    with pytest.raises(InputError, match=r"labels\.csv is missing; `avpipe synth"):
        load_benchmark("synth", tmp_path)
    (tmp_path / "videos" / "a.mp4").touch()
    for other in (tmp_path / "gone", tmp_path / "videos"):
        with pytest.raises(InputError, match=f"{other} is not a folder that `avpipe synth` made"):
            load_benchmark("synth", other)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "vggss.json").write_text('[{"name": 1}]')
    with pytest.raises(InputError, match=r"vggss\.json: not the boxes of clips \(KeyError"):
        load_benchmark("synth", tmp_path)
    assert load_benchmark("synth", folder / "vggss.json").counts == load(folder).counts


def test_the_ceiling_is_of_what_the_headline_counts() -> None:
    small, large = np.array([[0, 0, 0.1, 0.1]]), np.array([[0, 0, 0.9, 0.9]])
    heard = SynthItem("positive", Pair("a", "a"), "x", unheard=False, target=0)
    unheard = SynthItem("positive", Pair("b", "b"), "y", unheard=True, target=0)
    assert Synth((heard, unheard), {"a": small, "b": large}).ceiling == 0
    assert Synth((heard, unheard), {"a": large, "b": small}).ceiling == 1


def test_benchmarks_are_named_by_their_files() -> None:
    assert "synth" in benchmark_names()
    with pytest.raises(UsageError, match=r"no benchmark 'nope': one of .*synth"):
        load_benchmark("nope", Path())
