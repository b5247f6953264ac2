"""Evaluation of runs trained for a moment: what is stored, what is used again, what is said."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import CacheUnwritableError, InputError, UsageError
from avpipe.pipeline.run_folders import run_folders
from avpipe.train import load_run
from avpipe.train.benchmarks import load_benchmark
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import load_weights, save_checkpoint
from avpipe.train.score.controls import blend, center_prior, cie_lab, saliency
from avpipe.train.score.evaluate import evaluate
from avpipe.train.score.object_prior import ObjectPrior
from avpipe.train.score.table import evaluate_text, subset_title
from avpipe.train.tables import of_run as module
from avpipe.train.tables.results import results_path
from cache_factory import make_cache
from evaluation_factory import TINY, write_world


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 28)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def runs(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of a run trained on clips 0 to 15, of which 14 and 15 are test clips."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    recipe = load_recipe("compact", TINY)
    for seed in (0, 1):
        train(cache, recipe, folder / f"s{seed}", seed=seed, ids=cache.ids[:16], device="cpu")
    return [folder / "s0", folder / "s1"]


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


@pytest.fixture
def document(cache: Cache, world: Path, runs: list[Path]) -> dict[str, Any]:
    return evaluate(runs, cache, annotations=world, device="cpu")


def test_document(document: dict[str, Any], runs: list[Path]) -> None:
    assert document["schema"] == "avpipe.evaluate/1"
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for entry, folder in zip(document["runs"], runs, strict=True):
        assert entry["run"] == str(folder)
        assert (entry["benchmark"], entry["protocol"]) == ("synth", "avpipe")
        assert (entry["n_scored"], entry["n_official"]) == (8, 9)
        assert entry["missing"] == ["clip099"]
        assert entry["leaked"] == ["clip014", "clip015"]
        assert entry["leak_free"]["n_scored"] == 6
        assert entry["subsets"]["unheard"]["av"]["auroc_offscreen"] is None
        assert entry["scores"]["object"] is entry["scores"]["blend"] is None
        for source in ("av", "av_shuffled", "center", "saliency"):
            assert 0 <= entry["scores"][source]["right_object"] <= 1
    assert "no ImageNet ResNet18" in document["notices"][0]


def test_mean_and_std_over_runs(
    document: dict[str, Any], cache: Cache, world: Path, runs: list[Path]
) -> None:
    values = [entry["scores"]["av"]["ciou_mean_adaptive"] for entry in document["runs"]]
    assert values[0] != values[1]
    mean, std = (document[name]["scores"]["av"]["ciou_mean_adaptive"] for name in ("mean", "std"))
    assert mean == pytest.approx(sum(values) / 2)
    assert std == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    alone = evaluate(runs[:1], cache, annotations=world, device="cpu")
    assert alone["std"]["scores"]["av"]["ciou_mean_adaptive"] is None
    assert alone["mean"]["scores"]["av"]["ciou_mean_adaptive"] == values[0]


def test_scores_are_those_of_the_localizer(
    document: dict[str, Any], cache: Cache, runs: list[Path]
) -> None:
    """One sample by hand: its map from the run, upsampled, cut at its box."""
    with (runs[0] / "evaluate" / "synth-avpipe.csv").open() as file:
        samples = list(csv.DictReader(file))
    record = next(s for s in samples if s["group"] == "swapped")
    run = load_run(runs[0], "cpu")
    rows = [cache.row_of(record[name]) for name in ("video", "audio")]
    heat = run.upsample(run.maps(cache, rows[:1], rows[1:]))[0]
    assert float(record["confidence"]) == pytest.approx(heat.max(), abs=1e-5)
    sounding, silent = heat[22:112, 22:112], heat[134:201, 112:201]  # write_world's boxes
    assert float(record["right_object"]) == float(silent.mean() > sounding.mean())


def test_maps_are_made_once(
    document: dict[str, Any],
    cache: Cache,
    world: Path,
    runs: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = runs[0] / "evaluate" / "synth-maps.npz"
    before = stored.read_bytes()
    monkeypatch.setattr(module, "load_run", None)  # to open the network would raise
    again = evaluate(runs, cache, annotations=world, geometry="corners")
    assert [entry["maps_reused"] for entry in again["runs"]] == [True, True]
    assert stored.read_bytes() == before
    first = document["runs"][0]["scores"]["av"], again["runs"][0]["scores"]["av"]
    assert first[0] != first[1]  # another geometry, of the same maps


@pytest.mark.parametrize("change", ["weights", "pairs", "damage"])
def test_maps_are_made_again_when_what_they_come_from_changed(
    change: str, cache: Cache, world: Path, runs: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    here = tmp_path / "world"
    shutil.copytree(world, here)
    evaluate([run], cache, annotations=here, device="cpu")
    if change == "weights":
        shutil.rmtree(run / "checkpoints")
        shutil.copytree(runs[1] / "checkpoints", run / "checkpoints")
        shutil.copy(runs[1] / "run.json", run / "run.json")
    elif change == "pairs":
        lines = (here / "swapped.csv").read_text().splitlines()
        (here / "swapped.csv").write_text("\n".join(lines[:5]))
    else:
        (run / "evaluate" / "synth-maps.npz").write_bytes(b"PK half a file")
    again = evaluate([run], cache, annotations=here, device="cpu")
    (entry,) = again["runs"]
    assert not entry["maps_reused"]
    told = f"{run}/evaluate/synth-maps.npz is damaged, or an older avpipe wrote it: what it holds"
    assert any(line.startswith(told) for line in again["notices"]) == (change == "damage")
    if change == "weights":
        (other,) = evaluate(runs[1:], cache, annotations=here, device="cpu")["runs"]
        assert entry["scores"] == other["scores"]


def test_object_prior_and_blend_with_weights(
    cache: Cache, world: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    (tmp_path / "weights").mkdir()
    torch.save(network.state_dict(), tmp_path / "weights" / "resnet18-f37072fd.pth")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "weights"))
    document = evaluate(runs[:1], cache, annotations=world, device="cpu")
    assert document["notices"] == []
    for source in ("object", "blend"):
        assert document["runs"][0]["scores"][source]["loc_acc_adaptive"] is not None

    frame = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    body = torch.nn.Sequential(*list(network.children())[:-2])
    with torch.inference_mode():
        expected = body((pixels - mean[:, None, None]) / std[:, None, None]).abs().mean(1)[0]
    found = ObjectPrior()(frame)
    assert found[:, ::32][::32] == pytest.approx(expected.numpy(), rel=1e-3)  # cells at 32 * i


def test_refusals(cache: Cache, world: Path, runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no protocol 'x': one of avpipe"):
        evaluate(runs, cache, annotations=world, protocol="x")
    with pytest.raises(UsageError, match="at least one run"):
        evaluate([], cache, annotations=world)
    with pytest.raises(InputError, match="no run"):
        evaluate([tmp_path], cache, annotations=world)
    other = make_cache(tmp_path / "other", 2)
    with pytest.raises(InputError, match="none of the 15 test clips"):
        evaluate(runs, other, annotations=world)
    blocked = tmp_path / "run"
    shutil.copytree(runs[0], blocked, ignore=shutil.ignore_patterns("evaluate"))
    (blocked / "evaluate").write_text("a file in the way")
    with pytest.raises(CacheUnwritableError, match="synth-maps"):
        evaluate([blocked], cache, annotations=world, device="cpu")


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("swapped.csv", "video,audio,silent\nclip014,clip015,x\n", "silent is 'x', no number"),
        ("labels.csv", "id,label\nclip014,x\n", r"labels\.csv: a line without held_out"),
        ("swapped.csv", "a,b\nx,y\n", r"swapped\.csv: a line without video"),
        ("swapped.csv", "video,audio,silent\nclip014,clip015,7\n", "do not agree on 'clip014'"),
        ("swapped.csv", "\udcff", r"swapped\.csv: no CSV \('utf-8'"),
        ("plus_silent.csv", "video,audio\nclip900,clip014\n", "do not agree on 'clip900'"),
        ("vggss.json", '[{"file": 3', r"vggss\.json: not the boxes of clips \(JSONDecodeError"),
        ("vggss.json", "{}", r"vggss\.json is empty"),
        (
            "silent_boxes.json",
            '[{"file": "a", "bbox": [1]}]',
            r"silent_boxes\.json: not the boxes of clips \(ValueError",
        ),
        ("silent_boxes.json", None, r"silent_boxes\.json cannot be read"),
    ],
)
def test_lists_that_are_none_are_named(
    name: str, content: str | None, part: str, cache: Cache, world: Path, tmp_path: Path
) -> None:
    here = tmp_path / "world"
    shutil.copytree(world, here)
    (here / name).unlink()
    if content is None:
        (here / name).mkdir()
    else:
        (here / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=part):
        evaluate([tmp_path], cache, annotations=here)
    gone = tmp_path / "gone"
    with pytest.raises(InputError, match=r"gone is not a folder that `avpipe synth` made; name"):
        evaluate([tmp_path], cache, annotations=gone)


def test_weights_that_go_away(
    cache: Cache, world: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that still trains removes a checkpoint while its maps are asked for."""
    run, found = tmp_path / "run", module.require_checkpoint
    shutil.copytree(runs[0], run)

    def found_then_gone(run_dir: Path) -> tuple[Path, int]:
        newest = found(run_dir)
        weights = newest[0] / "weights.safetensors"
        weights.unlink()
        weights.symlink_to("gone")
        return newest

    monkeypatch.setattr(module, "require_checkpoint", found_then_gone)
    with pytest.raises(InputError, match=r"weights\.safetensors cannot be read .* being trained"):
        evaluate([run], cache, annotations=world, device="cpu")
    monkeypatch.setattr(module, "require_checkpoint", lambda _: (run / "checkpoints/00000000", 0))
    with pytest.raises(InputError, match=r"checkpoints/00000000 is gone .* being trained"):
        evaluate([run], cache, annotations=world, device="cpu")


def test_maps_are_of_the_weights_that_their_key_names(
    cache: Cache, world: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that still trains gets a checkpoint while its maps are asked for."""
    run = shutil.copytree(runs[0], tmp_path / "run")
    shutil.rmtree(run / "evaluate", ignore_errors=True)
    evaluate([run], cache, annotations=world, device="cpu")
    path = run / "evaluate/synth-maps.npz"
    before = path.read_bytes()
    path.unlink()
    newest, step = module.require_checkpoint(run)
    weights = {name: one + 0.1 for name, one in load_weights(newest).items()}
    opened = module.load_run

    def trained_on(*words: Any, **more: Any) -> Any:
        save_checkpoint(run, step + 1, weights, {})
        return opened(*words, **more)

    monkeypatch.setattr(module, "load_run", trained_on)
    evaluate([run], cache, annotations=world, device="cpu")
    assert path.read_bytes() == before
    path.unlink()
    evaluate([run], cache, annotations=world, device="cpu")
    assert path.read_bytes() != before


def test_a_run_counts_once(runs: list[Path], tmp_path: Path) -> None:
    assert run_folders(runs) == runs
    (tmp_path / "link").symlink_to(runs[0])
    with pytest.raises(UsageError, match="link is named twice"):
        run_folders([*runs, tmp_path / "link"])
    with pytest.raises(InputError, match=r"run\.json is a file; name the folder"):
        run_folders([runs[0] / "run.json"])


def test_runs_of_different_image_sizes_are_compared(
    cache: Cache, world: Path, runs: list[Path], tmp_path: Path
) -> None:
    recipe = load_recipe("compact", [*TINY, "image_size=48", "image_resize=56", "epochs=1"])
    train(cache, recipe, tmp_path / "run", ids=cache.ids[:14], device="cpu")
    both = evaluate([runs[0], tmp_path / "run"], cache, annotations=world, device="cpu")
    alone = evaluate([tmp_path / "run"], cache, annotations=world, device="cpu")
    assert both["runs"][1]["scores"] == alone["runs"][0]["scores"]


def test_table(document: dict[str, Any]) -> None:
    text = evaluate_text(document)
    lines = text.splitlines()
    assert "8 of 9 clips scored" in lines[0]
    row = next(line for line in lines if line.startswith("audio-visual map"))
    mean = document["mean"]["scores"]["av"]
    assert row.split()[-6:] == [f"{mean[name]:.3f}" for name in (
        "right_object", "swapped_right_object", "auroc_offscreen", "auroc_mismatched",
        "loc_acc_adaptive", "ciou_mean_adaptive",
    )]  # fmt: skip
    for start in ("s0", "s1", "sounds shuffled", "random true box", "saliency", "center prior",
                  "unheard classes", "missing: 1", "leaked: s0 was trained on 2"):  # fmt: skip
        assert any(line.startswith(start) for line in lines), start
    assert max(map(len, lines[:14])) <= 100


def test_saliency_finds_the_odd_colour() -> None:
    frame = np.full((100, 60, 3), 90, np.uint8)
    frame[20:50, 30:55] = (200, 30, 30)
    heat = saliency(frame)
    peak = np.unravel_index(heat.argmax(), heat.shape)
    assert 20 / 100 < peak[0] / 224 < 50 / 100
    assert 30 / 60 < peak[1] / 224 < 55 / 60
    assert not saliency(np.full((10, 10, 3), 7, np.uint8)).round(3).any()


def test_cie_lab_of_known_colours() -> None:
    colours = np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    known = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (32.30, 79.19, -107.86)]
    assert cie_lab(colours) == pytest.approx(np.array(known), abs=0.02)


def test_center_prior_falls_off_from_the_middle() -> None:
    prior = center_prior(5)
    assert np.unravel_index(prior.argmax(), prior.shape) == (2, 2)
    assert prior == pytest.approx(prior[::-1, ::-1].T)
    assert prior[0, 0] == prior.min()


def test_blend_is_that_of_ez_vsl() -> None:
    av, objects = np.random.default_rng(0).random((2, 3, 4, 4))
    found = blend(av, objects, 0.3)
    for index in range(3):
        a, b = ((m[index] - m[index].min()) / np.ptp(m[index]) for m in (av, objects))
        assert found[index] == pytest.approx(0.3 * a + 0.7 * b, abs=1e-6)
    assert not blend(np.full((1, 2, 2), 3.0), np.zeros((1, 2, 2))).any()


@pytest.mark.parametrize("protocol", ["avpipe", "slavc", "ez-vsl"])
def test_what_half_a_picture_cannot_reach_is_null(
    cache: Cache, world: Path, runs: list[Path], protocol: str
) -> None:
    """The boxes are under a quarter of the picture: no LocAcc of its half says anything."""
    document = evaluate(runs[:1], cache, annotations=world, protocol=protocol, device="cpu")
    (entry,) = document["runs"]
    suffix = "" if entry["protocol_fields"]["headline"] == "median" else "_median"
    assert entry["ceiling"] == 0.0
    for scores in (entry["scores"]["av"], entry["leak_free"]["scores"]["av"],
                   document["mean"]["scores"]["av"]):  # fmt: skip
        for name in ("loc_acc", "swapped_loc_acc", "ap", "max_f1"):
            assert scores[f"{name}{suffix}"] is None
        assert scores[f"auc{suffix}"] > 0 and scores["loc_acc_adaptive"] >= 0
    stored = json.loads(
        (runs[0] / "evaluate" / f"{results_path(runs[0], 'synth', protocol).name}.json").read_text()
    )
    assert stored["scores"]["av"][f"loc_acc{suffix}"] is None


@pytest.mark.parametrize("flags", ["zz,0", "0,zz", "0,", "2,0", "0, 1"])
def test_a_flag_is_0_or_1(world: Path, tmp_path: Path, flags: str) -> None:
    folder = Path(shutil.copytree(world, tmp_path / "world"))
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("test,0,1", f"test,{flags}", 1))
    with pytest.raises(InputError, match=r"labels\.csv: \w+ is '.*', neither 0 nor 1$"):
        load_benchmark("synth", folder)


def test_an_offscreen_clip_does_not_sound(world: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world, tmp_path / "world"))
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("test,0,1", "test,1,1", 1))
    with pytest.raises(InputError, match="do not agree on 'clip022'"):
        load_benchmark("synth", folder)


def test_a_benchmark_whose_headline_has_another_name(document: dict[str, Any]) -> None:
    pairs = {"whole": {"positive": 5, "easy": 2}}
    run = {**document["runs"][0], "benchmark": "vggss-extended", "pairs": pairs}
    assert subset_title(run, "easy") == "easy negatives (2)"
    assert subset_title(run, "hard") == "hard negatives (0)"
    assert subset_title(run, "whole") == "whole (5)"
