"""AVATAR's polygons, from files written by hand, against loops over pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.errors import InputError
from avpipe.train.benchmarks import Pair, load_benchmark
from avpipe.train.truths.annotated import Annotated
from avpipe.train.truths.polygons import fill, shrink
from torch.nn import functional as F


def write(folder: Path, name: str, *annotations: Any, size: tuple[int, int] = (448, 224)) -> None:
    path = folder / "metadata" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"original_width": size[0], "original_height": size[1], "annotations": annotations}
    path.write_text(json.dumps(record))


def outlined(task: str, *polygons: list[float]) -> dict[str, Any]:
    return {"task": task, "segmentation": polygons}


BOX = [100, 20, 299, 20, 299, 119, 100, 119]
CORNER = [0, 0, 40, 0, 0, 40]


def test_pixels_that_polygons_cover() -> None:
    found = fill([BOX, CORNER], (224, 448))
    for y, x in np.ndindex(224, 448):
        inside = (100 <= x <= 299 and 20 <= y <= 119) + (x + y <= 40)
        assert found[y, x] == inside, (y, x)


def test_shrinking_is_torchs() -> None:
    rng = np.random.default_rng(0)
    for shape in ((224, 448), (100, 61), (1, 1), (500, 224)):
        counted = rng.integers(0, 3, shape).astype(np.float64)
        tensor = torch.from_numpy(counted)[None, None]
        own = F.interpolate(tensor, (224, 224), mode="bilinear", align_corners=False)[0, 0]
        np.testing.assert_array_equal(shrink(counted), own.numpy() >= 1 - 1e-9)


def test_frames_and_scenarios(tmp_path: Path) -> None:
    write(tmp_path, "abc/00012", outlined("Single-sound", BOX))
    write(tmp_path, "abc/00040", outlined("Mixed-sound", CORNER), outlined("Off-Screen", BOX))
    write(tmp_path, "xyz/00001", outlined("Off-Screen", BOX))
    write(tmp_path, "xyz/00002", outlined("Off-Screen"))
    for named in (tmp_path, tmp_path / "metadata"):
        test = load_benchmark("avatar", named)
        assert isinstance(test, Annotated)
        assert [item.kind for item in test.items] == ["positive"] * 2 + ["negative"] * 2
    assert test.num_official == 2 and test.clip_ids[0] == "abc_00012"
    assert {name: set(ids) for name, ids in test.lists.items()} == {
        "Single-sound": {"abc_00012"}, "Mixed-sound": {"abc_00040"},
    }  # fmt: skip
    assert test.counts["all"] == {"positive": 2, "negative": 2}
    sources = test.sources()
    assert sources.own == [Pair(f"xyz_{name}", f"xyz_{name}") for name in ("00001", "00002")]
    box, corner = sources.truths(slice(0, 2))
    assert box.sum() == 100 * 100 and box[20:120, 50:150].all()
    assert corner[0, :20].all() and not corner[100:].any()  # what is off-screen is no truth
    ideal = test.score(lambda pairs: test.draw([test.boxes.get(p.video, np.zeros((0, 4)))
                                                for p in pairs]).astype(float))  # fmt: skip
    assert ideal.scores["all"]["loc_acc_adaptive"] == 1.0


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ([], "not a frame of AVATAR"),
        ({"original_width": 5, "original_height": 5, "annotations": []}, "without annotations"),
        ({"original_width": 0, "original_height": 5, "annotations": [{"task": "x"}]}, "0 x 5"),
        ({"original_width": 9, "annotations": []}, "original_height"),
        (
            {"original_width": 9, "original_height": 9,
             "annotations": [{"task": "x", "segmentation": [[1, 2, 3]]}]},
            "a polygon of 3 numbers",
        ),
        (
            {"original_width": 9, "original_height": 9,
             "annotations": [{"task": "x", "segmentation": [[1, 2, 3, 4, 5, -1e30]]}]},
            "a polygon of 6 numbers, one of them far",
        ),
    ],
)  # fmt: skip
def test_broken_frames_are_one_line(record: Any, line: str, tmp_path: Path) -> None:
    path = tmp_path / "metadata/v/1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=line) as error:
        load_benchmark("avatar", tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_other_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no <video>/<frame>\.json"):
        load_benchmark("avatar", tmp_path)
    write(tmp_path, "a/b_1", outlined("Single-sound", BOX))
    write(tmp_path, "a_b/1", outlined("Single-sound", BOX))
    with pytest.raises(InputError, match="another frame is a_b_1 too"):
        load_benchmark("avatar", tmp_path)
    beyond = [1000.0, 1000, 1100, 1000, 1100, 1100]
    (tmp_path / "metadata/a_b/1.json").unlink()
    write(tmp_path, "a/b_1", outlined("Single-sound", beyond))
    out, nothing = load_benchmark("avatar", tmp_path).notices
    assert "1 clip (a_b_1) with polygons out of the frame, clipped to it" in out
    assert "1 clip (a_b_1) whose polygons cover nothing: cIoU is 0 there" in nothing
