"""Evaluation on annotations of VGG-SS's format: leaks, priors, blends, protocols, several runs."""

import csv
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import UsageError
from avpipe.pipeline.main import main
from avpipe.train import load_run
from avpipe.train.benchmarks import load_benchmark
from avpipe.train.loop import train
from avpipe.train.metrics import retrieval_scores
from avpipe.train.nets.encoders import IMAGENET
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.record import read_record
from avpipe.train.score import shared as module
from avpipe.train.score.controls import center_prior
from avpipe.train.score.evaluate import evaluate
from avpipe.train.score.object_prior import ObjectPrior
from avpipe.train.score.published import published_rows
from avpipe.train.score.table import evaluate_text
from avpipe.train.truths.boxes import union_masks
from cache_factory import add_values, make_cache
from evaluation_factory import TINY, change_page, write_flickr, write_vggss
from numpy.typing import NDArray
from torch.nn import functional as F

PUBLISHED = Path(__file__).parents[4] / "shared" / "metadata"
Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Clips 0 to 15 are to learn from, 16 to 27 to test on; 14 and 15 are both."""
    return make_cache(tmp_path_factory.mktemp("cache"), 28)


@pytest.fixture(scope="module")
def annotations(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vggss(tmp_path_factory.mktemp("vggss"), [*cache.ids[14:], "gone028"], negatives=8)


@pytest.fixture(scope="module")
def runs(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of one recipe with momentum encoders, and a run of another."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    slavc = load_recipe("slavc", [*TINY, "image_encoder=compact", "image_init=scratch",
                                  "momentum=0.5", "ema=0"])  # fmt: skip
    for seed in (0, 1):
        train(cache, slavc, folder / f"slavc/seed{seed}", recipe_name="slavc", seed=seed,
              ids=cache.ids[:16], device="cpu")  # fmt: skip
    other = load_recipe("compact", TINY)
    train(cache, other, folder / "compact", recipe_name="compact", ids=cache.ids[:14], device="cpu")
    return [folder / "slavc/seed0", folder / "slavc/seed1", folder / "compact"]


@pytest.fixture
def run_evaluate(cache: Cache, annotations: Path) -> Evaluate:
    def ask(runs: list[Path], **how: Any) -> dict[str, Any]:
        given = {"annotations": annotations, "benchmark": "vggss-extended", "device": "cpu", **how}
        return evaluate(runs, cache, **given)

    return ask


class DrawnObjects:
    """Stands in for OGL, which `test_evaluate` looks at: maps drawn from the rows."""

    digest = "drawn"
    centres_px = 32.0 * np.arange(7)
    image_px = 224

    def __init__(self, device: str) -> None:
        """Take what `ObjectPrior` takes."""

    def activities(self, cache: Cache, rows: NDArray[np.int64], *_: object) -> NDArray[np.float32]:
        return np.stack([np.random.default_rng(row).random((7, 7), np.float32) for row in rows])


@pytest.fixture(autouse=True)
def object_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ObjectPrior", DrawnObjects)


def test_document(run_evaluate: Evaluate, runs: list[Path]) -> None:
    document = run_evaluate(runs)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for entry in document["runs"]:
        assert (entry["n_scored"], entry["n_official"]) == (14, 15)
        assert entry["missing"] == ["gone028", "other000", "other003", "other006"]
        assert entry["pairs"]["all"] == {"positive": 14, "easy": 2, "hard": 3}
        assert entry["pairs_official"]["all"] == {"positive": 15, "real": 3, "easy": 2, "hard": 3}
        assert list(entry["scores"]) == [
            "av", "center", "object", "blend", "og_avc", "av_shuffled", "own_sound"
        ]  # fmt: skip
        assert set(entry["subsets"]) == {"small", "medium", "large", "huge", "easy", "hard"}
        own_sound = entry["scores"].pop("own_sound")
        assert all(0 <= own_sound[name] <= 1 for name in ("above_other", "auroc"))
        assert entry["scores"].pop("av_shuffled")["ap"] is None  # no negatives are among them
        for scores in entry["scores"].values():
            assert 0 <= scores["loc_acc"] <= 1
            assert 0 < scores["ap"] <= 1 or scores["max_f1"] == 0
    assert [entry["leaked"] for entry in document["runs"]] == [["clip014", "clip015"]] * 2 + [[]]
    assert document["runs"][0]["leak_free"]["n_scored"] == 12
    assert document["runs"][2]["leak_free"] is None


def test_scores_are_those_of_the_csv(run_evaluate: Evaluate, runs: list[Path]) -> None:
    """LocAcc, and LocAcc without the leaked clips, by hand from the figures of every pair."""
    (entry,) = run_evaluate(runs[:1])["runs"]
    with (runs[0] / "evaluate" / "vggss-extended-avpipe.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "positive"]
    hits = {row["video"]: float(row["ciou_adaptive"]) for row in rows}
    scores = entry["scores"]["av"], entry["leak_free"]["scores"]["av"]
    clean = [hit for name, hit in hits.items() if name not in ("clip014", "clip015")]
    for found, cious in zip(scores, (list(hits.values()), clean), strict=True):
        assert found["ciou_mean_adaptive"] == pytest.approx(np.mean(cious))
        assert found["loc_acc_adaptive"] == np.mean(np.array(cious) >= 0.5)
    assert scores[0]["ciou_mean_adaptive"] != scores[1]["ciou_mean_adaptive"]
    stored = json.loads((runs[0] / "evaluate" / "vggss-extended-avpipe.json").read_text())
    assert stored["scores"] == entry["scores"]
    assert len(stored["curves"]["success_rate"]) == 21
    assert stored["curves"]["success_rate"][10] == scores[0]["loc_acc"]


def test_several_runs_make_one_table(run_evaluate: Evaluate, runs: list[Path]) -> None:
    """Mean and deviation of runs that differ by their seed, beside the published rows."""
    document = run_evaluate(runs)
    seeds, other = document["groups"]
    assert seeds["name"] == str(runs[0].parent)
    assert (len(seeds["runs"]), other["runs"]) == (2, [str(runs[2])])
    values = [entry["scores"]["av"]["ciou_mean"] for entry in document["runs"]]
    assert len(set(values)) == 3
    found = [seeds[name]["scores"]["av"]["ciou_mean"] for name in ("mean", "std")]
    assert found == pytest.approx([np.mean(values[:2]), np.std(values[:2], ddof=1)])
    assert document["mean"]["scores"]["av"]["ciou_mean"] == pytest.approx(np.mean(values))
    assert other["std"]["scores"]["av"]["ciou_mean"] is None
    lines = evaluate_text(document).splitlines()
    for start in ("seed0", "seed1", "slavc, mean of 2", "  +- std", "compact", "center prior",
                  "object prior (OGL)", "  blend with OGL", "slavc, small (",
                  "compact, hard negatives (3)",
                  "SLAVC (NeurIPS 2022), Table 3, trained on VGGSound 144k",
                  "leaked: seed0 was trained on 2 test clips; LocAcc is"):  # fmt: skip
        assert any(line.startswith(start) for line in lines), start
    (row,) = [line.split() for line in lines if line.startswith("  SLAVC + OGL")]
    assert row[3:] == ["34.46", "41.50", "39.80", "-", "-"]
    accuracy = document["runs"][2]["scores"]["av"]["loc_acc"]
    (row,) = [line.split() for line in lines if line.startswith("compact ")]
    assert row[3] == f"{100 * accuracy:.2f}"
    assert (
        max(map(len, lines[1 : lines.index("published, each by its paper's own protocol:")])) <= 100
    )


def test_published_rows_are_shares_with_their_source() -> None:
    rows = published_rows("vggss")
    (ours,) = [r for r in rows if r["method"] == "SSL alignment" and r["main"]]
    assert ours == {
        "method": "SSL alignment",
        "trained_on": "VGGSound 144k",
        "source": "SSL alignment (ICCV 2023), Table 1",
        "main": True,
        "scores": {"loc_acc": 0.3994, "auc": 0.4002},
    }
    for name in ("vggss-extended", "vggss-heard", "vggss-unheard", "flickr", "flickr-extended",
                 "retrieval"):  # fmt: skip
        rows = published_rows(name)
        assert any(row["main"] for row in rows)
        assert all(0 <= share < 1 for row in rows for share in row["scores"].values())
        assert all(row["scores"] and row["source"] and row["trained_on"] for row in rows)
    assert published_rows("synth") == []


def test_blends_by_alpha(run_evaluate: Evaluate, runs: list[Path]) -> None:
    """All of one kind of map scores as that kind; the sweep is a table, `blend` the protocol's."""
    (entry,) = run_evaluate(runs[:1], alphas=(0, 0.4, 0.6, 1))["runs"]
    swept, scores = entry["alphas"], entry["scores"]
    assert list(swept) == ["0", "0.4", "0.6", "1"]
    assert swept["1"]["ciou_mean"] == pytest.approx(scores["av"]["ciou_mean"], abs=2e-4)
    assert swept["0"]["ciou_mean"] == pytest.approx(scores["object"]["ciou_mean"], abs=2e-4)
    assert swept["0.4"] == scores["blend"]
    assert swept["0.6"] == scores["og_avc"] != scores["blend"]
    (other,) = run_evaluate(runs[:1], alphas=(0.6,))["runs"]
    assert other["scores"]["blend"] == scores["og_avc"]
    assert (other["alpha"], other["alphas"]) == (0.6, {})
    text = evaluate_text(run_evaluate(runs[:1], alphas=(0.2, 0.8)))
    assert "blend, alpha 0.8" in text
    assert "choose on other clips" in text


def test_detr_is_blended_where_the_cache_has_its_maps(
    annotations: Path, runs: list[Path], tmp_path: Path
) -> None:
    cache = make_cache(tmp_path / "cache", 28)
    add_values(cache, "objects/detr-r50", (7, 7))
    document = evaluate(
        runs[:1], Cache(cache.path), annotations=annotations, benchmark="vggss", device="cpu"
    )
    (entry,) = document["runs"]
    assert {"detr", "og_avc_detr"} < set(entry["scores"])
    text = evaluate_text(document)
    assert "OG-AVC-DETR" in text
    assert "object map (DETR)" in text


def test_object_maps_on_the_scale_of_slavc(
    annotations: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: OGL over 2.5 is cut at 0.5, alone and in blends; DETR is a third on one scale."""

    def filled(cells: NDArray[Any]) -> NDArray[Any]:
        given = torch.from_numpy(cells)[:, None].double()
        filled_in = F.interpolate(given, (224, 224), mode="bicubic", align_corners=True)
        pixels: NDArray[Any] = filled_in[:, 0].numpy()
        return pixels

    def mean_ciou(chosen: NDArray[Any]) -> float:
        both = zip(chosen, truths, strict=True)
        return float(np.mean([(c & t).sum() / (c | t).sum() for c, t in both]))

    def bright(self: object, cache: Cache, rows: NDArray[np.int64], *_: object) -> NDArray[Any]:
        return np.stack([3 * np.random.default_rng(row).random((7, 7), np.float32) for row in rows])

    monkeypatch.setattr(DrawnObjects, "activities", bright)
    cache = make_cache(tmp_path / "cache", 28)
    add_values(cache, "objects/detr-r50", (7, 7))
    cache = Cache(cache.path)
    boxes = {e["file"]: e["bbox"] for e in json.loads((annotations / "vggss.json").read_text())}
    truths = union_masks([boxes[name] for name in cache.ids[14:]])
    rows = np.array([cache.row_of(name) for name in cache.ids[14:]])
    av = (filled(load_run(runs[2], "cpu").maps(cache, rows)) + 1) / 2
    ogl = filled(bright(None, cache, rows)) / 2.5
    column = cache.column("objects/detr-r50")
    detr = filled(np.stack([np.asarray(column[row], np.float32) for row in rows]))
    low, high = (end(detr, (1, 2), keepdims=True) for end in (np.min, np.max))
    third = (av + ogl + (detr - low) / (high - low)) / 3

    (entry,) = evaluate(runs[2:], cache, annotations=annotations, benchmark="vggss",
                        protocol="slavc", device="cpu")["runs"]  # fmt: skip
    scores = entry["scores"]
    for name, maps in {
        "object": ogl, "blend": 0.9 * av + 0.1 * ogl, "og_avc": 0.6 * av + 0.4 * ogl,
        "og_avc_detr": third,
    }.items():  # fmt: skip
        fixed = scores[name]["ciou_mean_fixed"]
        assert fixed == pytest.approx(mean_ciou(maps >= 0.5), abs=1e-4), name
    half = np.median(third, (1, 2), keepdims=True)
    assert scores["og_avc_detr"]["ciou_mean"] == pytest.approx(mean_ciou(third >= half), abs=1e-4)
    middle = mean_ciou(detr >= (low + high) / 2)
    assert scores["detr"]["ciou_mean_fixed"] == pytest.approx(middle, abs=1e-4)
    prior = center_prior()
    middle = mean_ciou(np.stack([prior >= (prior.min() + prior.max()) / 2] * len(truths)))
    assert scores["center"]["ciou_mean_fixed"] == pytest.approx(middle, abs=1e-4)


def test_without_imagenet_weights(
    run_evaluate: Evaluate, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ObjectPrior", ObjectPrior)
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path))
    document = run_evaluate(runs[:1], benchmark="vggss", alphas=(0.1, 0.2))
    (entry,) = document["runs"]
    assert (
        entry["scores"]["object"] is entry["scores"]["blend"] is entry["scores"]["og_avc"] is None
    )
    assert any("no ImageNet ResNet18" in line for line in document["notices"])
    assert entry["alphas"] == {}
    (tmp_path / IMAGENET.name).write_text("<html>not found</html>")
    notices = run_evaluate(runs[:1], benchmark="vggss")["notices"]
    (told,) = (line for line in notices if line.startswith("object (OGL) and blend are null"))
    assert f"{tmp_path / IMAGENET.name}: is a web page, no checkpoint" in told
    assert "once it is removed `avpipe weights fetch imagenet-resnet18` fetches it" in told


def test_protocols_are_stamped_and_differ(run_evaluate: Evaluate, runs: list[Path]) -> None:
    stamps = {}
    for protocol, paper in (("avpipe", None), ("slavc", None), ("lvs", None), ("paper", "avc")):
        (entry,) = run_evaluate(runs[:1], protocol=protocol, paper=paper)["runs"]
        stamps[entry["protocol"]] = entry
        assert (runs[0] / "evaluate" / f"vggss-extended-{entry['protocol']}.csv").exists()
    assert list(stamps) == ["avpipe", "slavc", "lvs", "paper-avc"]
    geometries = [entry["geometry"] for entry in stamps.values()]
    assert geometries == ["rf-centred", "corners", "cell-centred", "cell-centred"]
    assert stamps["paper-avc"]["alpha"] == 0.6
    assert stamps["slavc"]["protocol_fields"]["thresholds"] == "subsampled"
    for one, other in itertools.combinations(list(stamps.values())[:3], 2):
        assert one["scores"]["av"] != other["scores"]["av"]
    (moved,) = run_evaluate(runs[:1], protocol="lvs", geometry="corners")["runs"]
    assert moved["geometry"] == "corners"
    for wrong, message in (
        ({"protocol": "paper"}, "which paper"),
        ({"paper": "avc"}, "goes with --protocol paper"),
        ({"protocol": "p"}, "no protocol 'p'"),
        ({"branch": "ema"}, "has no 'ema' weights"),
    ):
        with pytest.raises(UsageError, match=message):
            run_evaluate(runs[:1], **wrong)


def test_a_branch_has_maps_of_its_own(run_evaluate: Evaluate, runs: list[Path]) -> None:
    """The recipe tests one branch; the other is scored beside it, and neither is made twice."""
    tested = run_evaluate(runs[:1])["runs"][0]
    assert tested["branch"] == "momentum"
    named, online = (
        run_evaluate(runs[:1], branch=name)["runs"][0] for name in ("momentum", "online")
    )
    assert named["scores"] == tested["scores"]
    assert online["scores"]["av"] != tested["scores"]["av"]
    assert online["branch"] == "online"
    assert run_evaluate(runs[:1], branch="online")["runs"][0]["maps_reused"]
    assert run_evaluate(runs[:1])["runs"][0]["maps_reused"]
    assert (runs[0] / "evaluate" / "vggss-extended-online-avpipe.csv").exists()


def test_object_maps_are_made_once(
    run_evaluate: Evaluate, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_evaluate(runs[:1])
    monkeypatch.setattr(DrawnObjects, "activities", None)  # to call it would raise
    assert run_evaluate(runs[:1])["runs"][0]["scores"] == first["runs"][0]["scores"]


def test_retrieval(run_evaluate: Evaluate, cache: Cache, runs: list[Path]) -> None:
    document = run_evaluate(runs[1:2], benchmark="retrieval")
    (entry,) = document["runs"]
    assert (entry["n_scored"], entry["n_official"], entry["ceiling"]) == (14, 15, None)
    localizer = load_run(runs[1], "cpu")
    frames = [localizer.embed_frame(cache.clip(name).frame).mean((1, 2)) for name in cache.ids[14:]]
    embedded = localizer.embeddings(cache, [cache.row_of(name) for name in cache.ids[14:]])
    own = np.stack(frames)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    assert embedded[:, 0] == pytest.approx(own, abs=1e-4)
    sounds = embedded[:, 1]
    labels = [f"class{i // 2}" for i in range(14)]
    assert entry["scores"]["av"] == pytest.approx(
        retrieval_scores(sounds @ embedded[:, 0].T, labels)
    )
    text = evaluate_text(document)
    assert "A2I R@10" in text
    assert "16.47" in text
    assert run_evaluate(runs[1:2], benchmark="retrieval")["runs"][0]["maps_reused"]


def test_flickr(cache: Cache, runs: list[Path], tmp_path: Path) -> None:
    boxes = {name: [[[20, 30, 120, 200]], [[60, 10, 220, 240]]] for name in cache.ids[16:24]}
    folder = write_flickr(tmp_path, boxes)
    for name, kinds in (
        ("flickr", {"positive": 8}),
        ("flickr-extended", {"positive": 8, "negative": 8}),
    ):
        (entry,) = evaluate(
            runs[2:],
            cache,
            annotations=folder,
            benchmark=name,
            protocol="ssl-alignment",
            device="cpu",
        )["runs"]
        assert entry["pairs"]["all"] == kinds
        assert entry["geometry"] == "corners"  # this laboratory's, away from VGG-SS
        assert entry["scores"]["av"]["auc"] > 0


@pytest.mark.skipif(not (PUBLISHED / "vggss_144k.txt").exists(), reason=f"no lists in {PUBLISHED}")
def test_the_released_training_list_leaks_3709_clips(runs: list[Path], tmp_path: Path) -> None:
    """A run whose record holds that list, on a cache of eight leaked clips and five others."""
    listed = (PUBLISHED / "vggss_144k.txt").read_text().split()
    official = load_benchmark("vggss", PUBLISHED).clip_ids
    trained_on = set(listed)
    leaked = [name for name in official if name in trained_on]
    fresh = [name for name in official if name not in trained_on]
    cache = make_cache(tmp_path / "cache", 13, ids=sorted([*leaked[:8], *fresh[:5]]))
    run = tmp_path / "run"
    shutil.copytree(runs[0], run, ignore=shutil.ignore_patterns("evaluate"))
    change_page(run, ids=listed)
    document = evaluate([run], cache, annotations=PUBLISHED, benchmark="vggss", device="cpu")
    (entry,) = document["runs"]
    assert len(entry["leaked"]) == 3709
    assert (entry["n_scored"], entry["n_official"], len(entry["missing"])) == (13, 5158, 5145)
    assert entry["leak_free"]["n_scored"] == 5
    with (run / "evaluate" / "vggss-avpipe.csv").open() as file:
        ciou = {row["video"]: float(row["ciou"]) for row in csv.DictReader(file)}
    clean = [ciou[name] for name in fresh[:5]]
    figures = [entry["scores"]["av"], entry["leak_free"]["scores"]["av"]]
    assert [one["ciou_mean"] for one in figures] == pytest.approx(
        [np.mean(list(ciou.values())), np.mean(clean)]
    )
    assert "was trained on 3709 test clips; LocAcc is " in evaluate_text(document)
    assert "on the 5 others" in evaluate_text(document)


def test_an_imported_run_without_its_list_may_have_leaks(
    run_evaluate: Evaluate, runs: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[2], run, ignore=shutil.ignore_patterns("evaluate"))
    change_page(run, ids=[], imported={"from": "slavc"})
    document = run_evaluate([run], benchmark="vggss")
    assert document["runs"][0]["leaked"] is document["runs"][0]["leak_free"] is None
    assert "leaked: unknown, run came without the list" in evaluate_text(document)


def test_clips_that_an_encoder_brings_along_are_leaks(
    run_evaluate: Evaluate, cache: Cache, runs: list[Path], tmp_path: Path
) -> None:
    """Sounds of a run that learnt two test clips, taken over twice; one that does not say so."""

    def taught_by(teacher: Path, name: str) -> Path:
        sets = [*TINY, "image_encoder=compact", "image_init=scratch", "momentum=0", "ema=0",
                "test_weights=online", "epochs=1", f"audio_init={teacher}"]  # fmt: skip
        recipe = load_recipe("slavc", sets)
        train(cache, recipe, tmp_path / name, recipe_name=name, ids=cache.ids[:14], device="cpu")
        return tmp_path / name

    def leaks(run: Path) -> list[str] | None:
        (entry,) = run_evaluate([run], benchmark="vggss")["runs"]
        assert (entry["leak_free"] or {}).get("n_scored") == (12 if entry["leaked"] else None)
        found: list[str] | None = entry["leaked"]
        return found

    first = taught_by(runs[0], "first")
    second = taught_by(first, "second")
    assert leaks(first) == leaks(second) == ["clip014", "clip015"]
    assert read_record(first).inherited == tuple(cache.ids[:16])
    change_page(first, without="inherited")  # as it was written formerly
    assert leaks(first) is leaks(taught_by(first, "third")) is None
    assert read_record(runs[2]).inherited == ()
    shutil.copytree(runs[2], tmp_path / "plain", ignore=shutil.ignore_patterns("evaluate"))
    change_page(tmp_path / "plain", without="inherited")
    assert leaks(tmp_path / "plain") == []


def test_the_commands_of_the_page(
    cache: Cache,
    annotations: Path,
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    for name in ("testcache", "avcache"):
        (tmp_path / name).symlink_to(cache.path)
    (tmp_path / "annotations").symlink_to(annotations)
    (tmp_path / "runs").symlink_to(runs[0].parents[1])
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text("utf-8")
    commands = re.findall(r"(?m)^\$ avpipe (evaluate .*)$", page)
    assert len(commands) == 6
    for words in commands:
        assert main(words.split()) == 0
        said = capsys.readouterr().out
        latex = "latex" in words
        wanted = r"\begin{tabular}" if latex else "published, each by its paper's own protocol"
        assert wanted in said
