"""Real clips with true boxes as a test of VGG-SS's form: from files to scores, by the commands.

What is expected is computed here from the formulas, from the run's small maps alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline.main import main
from avpipe.train.benchmarks import Pair, load_benchmark
from avpipe.train.runs.localizer import load_run
from avpipe.train.truths.exchanged import exchanges
from cache_factory import make_cache
from PIL import Image
from scipy.ndimage import map_coordinates

REAL = Path(__file__).parents[3] / "shared" / "real"
CLIPS, MATERIAL = REAL / "clips", REAL / "material"
FILES = {
    "mobilenet-v2": REAL / "models/mobilenet_v2_imagenet_from_torchvision_quant.pth",
    "efficientat-mn04": REAL / "models/mn04_as_mAP_432.pt",
}
WEIGHTS = [word for name, path in FILES.items() for word in ("--weights", f"{name}={path}")]
SIZE = 224

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(
        not all(path.exists() for path in (CLIPS, MATERIAL, *FILES.values())),
        reason="no ../shared/real beside the checkout",
    ),
]


def run_words(*words: object) -> None:
    assert main([str(word) for word in words]) == 0, words


def scored(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """Return the first run's part of what `evaluate` says."""
    capsys.readouterr()
    run_words("evaluate", *words, "--json", "--device", "cpu", "--threads", 1)
    entry: dict[str, Any] = json.loads(capsys.readouterr().out)["runs"][0]
    return entry


def filled_in(cells: np.ndarray) -> np.ndarray:
    """Bring a map's cells to the picture: linear between their centres, the same beyond the last.

    Cell i of MobileNetV2 lies on pixel 32 i of the square it sees.
    """
    side = 32 * len(cells)
    at = ((np.arange(SIZE) + 0.5) * side / SIZE - 0.5) / 32
    places = np.meshgrid(*(at.clip(0, len(cells) - 1),) * 2, indexing="ij")
    return map_coordinates(cells.astype(np.float64), places, order=1)


def truth_of(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    drawn = np.zeros((SIZE, SIZE), bool)
    for x1, y1, x2, y2 in (np.array(boxes) * SIZE).astype(int):
        drawn[y1:y2, x1:x2] = True
    return drawn


def figures(maps: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the scores of maps by the formulas: the upper half predicted, or as many as true."""
    found = {}
    for suffix, areas in (
        ("", [SIZE * SIZE // 2] * len(maps)),
        ("_adaptive", [truth.sum() for truth in truths]),
    ):
        cious = []
        for one, truth, area in zip(maps, truths, areas, strict=True):
            chosen = one >= np.sort(one.ravel())[-area]
            cious.append((chosen & truth).sum() / (truth.sum() + (chosen & ~truth).sum()))
        rates = [np.mean(np.array(cious) >= 0.05 * step) for step in range(21)]
        found[f"loc_acc{suffix}"] = np.mean(np.array(cious) >= 0.5)
        found[f"ciou_mean{suffix}"] = np.mean(cious)
        found[f"auc{suffix}"] = 0.05 * (sum(rates) - (rates[0] + rates[-1]) / 2)
    return found


def agrees(found: dict[str, float], wanted: dict[str, float]) -> None:
    """One pixel in a tie may move a cIoU by 2e-5; a LocAcc must be the same."""
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-3)


def check(run: Path, cache: Cache, annotations: Path, entry: dict[str, Any]) -> None:
    """See that scores of a run, of other sounds and of the center prior follow from its maps."""
    boxes = {one["file"]: one["bbox"] for one in json.loads(annotations.read_text())}
    names, localizer = list(boxes), load_run(run, "cpu")
    truths = [truth_of(boxes[name]) for name in names]

    def maps(pairs: Sequence[Pair]) -> list[np.ndarray]:
        rows = np.array([[cache.row_of(name) for name in pair] for pair in pairs])
        cells = localizer.maps(cache, rows[:, 0], rows[:, 1])
        return [filled_in(one) for one in cells]

    own = maps([Pair(name, name) for name in names])
    agrees(entry["scores"]["av"], figures(own, truths))
    away = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    centre = -np.sqrt(away[:, None] ** 2 + away[None, :] ** 2)
    agrees(entry["scores"]["center"], figures([centre] * len(names), truths))
    levels = np.array([one[truth].mean() for one, truth in zip(own, truths, strict=True)])
    rounds = exchanges(load_benchmark("vggss", annotations).items)
    others = np.array(
        [[one[t].mean() for one, t in zip(maps(pairs), truths, strict=True)] for pairs in rounds]
    )
    found = entry["scores"]["own_sound"]
    assert others.shape == (4, len(names))
    assert found["above_other"] == pytest.approx((levels > others).mean(), abs=0.01)
    ranked = (levels[:, None] > others.ravel()).mean()
    assert found["auroc"] == pytest.approx(ranked, abs=0.01)
    assert entry["n_scored"] == entry["n_official"] == len(names)
    assert entry["missing"] == entry["leaked"] == []


def test_official_clips_from_files_to_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four clips of VGG-SS with its own boxes; the heads learnt from drawn clips, know nothing."""
    annotations = CLIPS / "vggss_official.json"
    names = [one["file"] for one in json.loads(annotations.read_text())]
    world = make_cache(tmp_path / "drawn", 8).path
    cache = tmp_path / "avcache"
    videos = [CLIPS / "videos" / f"{name}.mp4" for name in names]
    run_words("extract", *videos, "--cache", cache, "--jobs", 1)
    teachers = ("--visual", "mobilenet-v2", "--audio", "efficientat-mn04", *WEIGHTS)
    for folder in (world, cache):
        run_words("embed-teachers", *teachers, "--cache", folder, "--device", "cpu", "--threads", 1)
    run = tmp_path / "run"
    run_words(
        "train", "--recipe", "cached", "--cache", world, "--run", run, "--device", "cpu",
        *("--set", "image_encoder=cached:mobilenet-v2", "--set", "epochs=2"),
    )  # fmt: skip
    entry = scored(
        capsys, run, "--cache", cache, "--benchmark", "vggss", "--annotations", annotations
    )
    check(run, Cache(cache), annotations, entry)
    # the file itself, by the teachers at work, gives the map of the cached features
    clip = Cache(cache).clip(names[0])
    localizer = load_run(run, "cpu", weights=WEIGHTS[1::2])
    live = localizer.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
    cached = localizer.upsample(localizer.maps(Cache(cache), [clip.row]))[0]
    np.testing.assert_allclose(live, cached, atol=0.02)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_clips_after_learning_a_composed_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, run, cache = (tmp_path / name for name in ("world", "run", "avcache"))
    folders = [f"--{name}={MATERIAL / name}" for name in ("photos", "sounds", "backgrounds")]
    splits = ("--splits", MATERIAL / "splits.csv")
    run_words("synth", world, *folders, *splits, "--clips", 48, "--test", 8, "--jobs", 2)
    run_words("extract", world / "videos", "--cache", tmp_path / "worldcache", "--jobs", 2)
    run_words("extract", CLIPS / "videos", "--cache", cache, "--jobs", 2)
    teachers = ("--visual", "mobilenet-v2", "--visual-size", 448, "--audio", "efficientat-mn04")
    for folder in (tmp_path / "worldcache", cache):
        run_words(
            "embed-teachers",
            *teachers,
            *WEIGHTS,
            "--cache",
            folder,
            "--device",
            "cpu",
            "--threads",
            1,
        )
    run_words(
        "train", "--recipe", "cached", "--cache", tmp_path / "worldcache", "--run", run,
        *("--ids", world / "train.txt", "--device", "cpu"),
    )  # fmt: skip
    annotations = CLIPS / "vggss.json"
    entry = scored(capsys, run, "--cache", cache, "--benchmark", "vggss", "--annotations", CLIPS)
    check(run, Cache(cache), annotations, entry)
    centre = entry["scores"]["center"]
    assert centre["loc_acc"] == pytest.approx(0.679, abs=5e-4)
    assert centre["ciou_mean"] == pytest.approx(0.491, abs=5e-4)
    names = Cache(cache).ids[::7]
    (tmp_path / "some.txt").write_text("\n".join(names) + "\n")
    run_words(
        "localize", "--ids", tmp_path / "some.txt", "--cache", cache, "--run", run,
        *("--device", "cpu", "--annotations", CLIPS, "--out", tmp_path / "pictures"),
    )  # fmt: skip
    pictures = {path.stem: path for path in (tmp_path / "pictures").glob("*.png")}
    assert set(pictures) == {"sheet", *names} and len(names) == 4
    for path in pictures.values():
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, path
