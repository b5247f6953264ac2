"""`report`: one file that holds what evaluate, training, cache and run pages say, and no more."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline.main import main
from avpipe.pipeline.pages.chart import Curve, chart
from avpipe.pipeline.pages.report import overlays
from avpipe.pipeline.pages.report import run as run_report
from avpipe.pipeline.pages.report.curves import History, read_history, training_section
from avpipe.pipeline.pages.report.overlays import ScoredClip, choose
from avpipe.train.benchmarks import Pair, load_benchmark
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.tables import of_run
from cache_factory import make_cache
from command_pages import section
from evaluation_factory import TINY, change_page, write_flickr, write_vggss, write_world
from fake_clips import make_cache as make_fake_cache

pytestmark = pytest.mark.usefixtures("one_thread")
DOCS = Path(__file__).parents[3] / "docs/looking.md"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache") / "avcache", 28)


@pytest.fixture(scope="module")
def runs(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two seeds, trained on clips 0 to 15; the second is a copy with other losses."""
    folder = tmp_path_factory.mktemp("runs") / "compact"
    recipe = load_recipe("compact", [*TINY, "epochs=1"])
    first, second = folder / "seed0", folder / "seed1"
    ids = cache.ids[:16]
    train(cache, recipe, first, ids=ids, val_ids=cache.ids[16:24], device="cpu",
          recipe_name="compact")  # fmt: skip
    shutil.copytree(first, second)
    change_page(second, seed=1)
    return folder


@pytest.fixture(scope="module")
def made(
    cache: Cache, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], str]:
    """The document and the page of both runs on a small VGG-SS with negatives."""
    folder = tmp_path_factory.mktemp("vggss")
    write_vggss(folder, [*cache.ids[14:24], "clip099"], negatives=6)
    words = ["--benchmark", "vggss-extended", "--annotations", str(folder)]
    page = folder / "made" / "page.html"
    return report(runs, cache, *words, "--out", str(page)), page.read_text("utf-8")


def report(run: Path, cache: Cache | Path, *words: str) -> dict[str, Any]:
    """Run the command; return its document."""
    path = cache.path if isinstance(cache, Cache) else cache
    shown: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVPIPE_WEIGHTS_DIR", str(run / "no-weights"))
        patch.setattr(
            "avpipe.pipeline.output.show", lambda document, as_json, text: shown.append(document)
        )
        code = main(["report", str(run), "--cache", str(path), "--device", "cpu", *words])
    assert code == 0
    return shown[0]


def tables(page: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table by the first cell of its head; of several the last."""
    return {rows[0][0]: rows for rows in all_tables(page)}


def all_tables(page: str) -> list[list[list[str]]]:
    """Return the rows of each table."""
    found = []
    for table in re.findall(r"<table>(.*?)</table>", page, re.DOTALL):
        rows = [
            [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
            for row in re.findall(r"<tr>(.*?)</tr>", table)
        ]
        found.append(rows)
    return found


def test_the_page_is_one_file(made: tuple[dict[str, Any], str]) -> None:
    document, page = made
    assert document["page"].endswith("made/page.html")
    targets = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(targets) > 10
    assert all(target.startswith("data:") for target in targets)
    for word in ("<script", "@import", "url(", "http:", "https:"):
        assert word not in page
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == ["Scores", "Curves", "Best and worst", "Training", "Data", "Provenance"]


def test_measured_and_published_are_two_tables(made: tuple[dict[str, Any], str]) -> None:
    document, page = made
    scored, found = document["evaluation"], tables(page)
    assert scored["schema"] == "avpipe.evaluate/1"
    measured = {row[0].strip(): row[1:] for row in found["measured"]}
    columns = dict(
        zip(measured["measured"], zip(*found["measured"][1:], strict=True), strict=False)
    )
    for run, name in zip(scored["runs"], ("seed0", "seed1"), strict=True):
        loc_acc = measured[name][measured["measured"].index("LocAcc")]
        assert loc_acc == f"{100 * run['scores']['av']['loc_acc']:.2f}"
    assert "center prior" in measured
    assert columns
    methods = {row["method"] for row in scored["published"]}
    assert len(methods) > 5
    assert not methods & set(measured)
    assert "Published, not measured here" in page
    printed = {(row[0], row[-1]) for row in found["published"][1:]}
    known = {(row["method"], row["source"]) for row in scored["published"]}
    assert printed <= known
    titles = [row[0] for row in found["audio-visual map, means of 2 runs"]]
    assert any("negatives (" in title for title in titles)
    for name in ("small", "medium", "large", "huge"):
        assert re.search(rf"<td>{name} \(\d+\)</td>", page)


def test_other_recipes_are_not_averaged_with_each_other(
    made: tuple[dict[str, Any], str], cache: Cache, runs: Path, tmp_path: Path
) -> None:
    """Two seeds and a run of another recipe: a table of two, and one of the other alone."""
    other = tmp_path / "other"
    shutil.copytree(runs / "seed0", other)
    recipe = {**json.loads((other / "run.json").read_text())["recipe"], "lr": 0.5}
    change_page(other, recipe=recipe)
    world = str(Path(made[0]["page"]).parents[1])
    out = tmp_path / "page.html"
    words = ["--benchmark", "vggss-extended", "--annotations", world, "--out", str(out)]
    document = report(runs, cache, str(other), *words)
    found = [rows for rows in all_tables(out.read_text("utf-8")) if rows[1][0].startswith("small")]
    subsets = [run["subsets"] for run in document["evaluation"]["runs"]]
    for title, members in (("compact, means of 2 runs", subsets[:2]), ("other", subsets[2:])):
        (table,) = [rows for rows in found if rows[0][0] == title]
        column = table[0].index("LocAcc")
        (row,) = [row for row in table if row[0].startswith("small (")]
        expected = np.mean([one["small"]["av"]["loc_acc"] for one in members])
        assert row[column] == f"{100 * expected:.2f}"
    assert len(found) == 2


def test_damage_in_a_record_is_said_on_the_page(runs: Path, cache: Cache, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "seed0", run)
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("5\n" + lines[1])
    document = report(run, cache)
    notice = f"{path}: line 1 is damaged: the other lines are read"
    assert notice in document["notices"]
    assert notice in unescape((run / "report.html").read_text())
    assert document["runs"][0]["loss"] == json.loads(lines[1])["loss"]


def test_what_nobody_may_overlook_is_said(made: tuple[dict[str, Any], str]) -> None:
    document, page = made
    warned = re.findall(r'<p class="warn">(.*?)</p>', page)
    assert any("was trained on 2 test clips" in line for line in warned)
    assert any(line.startswith("missing: ") for line in warned)
    assert any("no ImageNet ResNet18" in line for line in warned)
    assert "<code>avpipe weights fetch imagenet-resnet18</code>" in page
    rows = {row[0]: row[1:] for row in tables(page)[""]}
    assert rows[""] == ["seed0", "seed1"]
    assert rows["seed"] == ["0", "1"]
    assert rows["leaked"] == ["2 test clips"] * 2
    assert rows["trained on"] == ["16 clips"] * 2
    assert rows["steps"][0].startswith("2 of 8 clips")
    assert rows["ceiling of LocAcc"][0].endswith("% where half a picture is predicted")
    assert re.search(r"one scale of colours, cosines from -?\d.\d\d \(dark\) to", page)
    assert rows["image encoder from"] == ["scratch"] * 2
    assert "torch " in rows["made with"][0]
    assert f"Missing: {len(document['evaluation']['runs'][0]['missing'])} clips" in page


def test_best_and_worst_are_those_of_the_csv(made: tuple[dict[str, Any], str], runs: Path) -> None:
    _, page = made
    with (runs / "seed0/evaluate/vggss-extended-avpipe.csv").open() as file:
        lines = list(csv.DictReader(file))
    cious = sorted(float(line["ciou"]) for line in lines if line["kind"] == "positive")
    parts = re.split(r"<h3>(Best|Worst|False alarms[^<]*)</h3>", page)
    shown = {parts[i]: parts[i + 1].partition("<h2>")[0] for i in range(1, len(parts), 2)}
    best, worst = (
        [float(text) for text in re.findall(r"<figcaption>cIoU ([\d.]+)", shown[title])]
        for title in ("Best", "Worst")
    )
    assert best == pytest.approx(cious[::-1][:6], abs=5e-4)
    assert worst == pytest.approx(cious[: len(cious) - 6], abs=5e-4)
    false = shown["False alarms: sounds of nothing in the picture"]
    surest = max(float(line["confidence"]) for line in lines if line["kind"] != "positive")
    assert f"<figcaption>confidence {surest:.3f}" in false


def test_maps_are_not_made_again_for_the_page(
    made: tuple[dict[str, Any], str], cache: Cache, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, page = made
    monkeypatch.setattr(of_run, "load_run", None)  # to open the network would raise
    monkeypatch.setattr(overlays, "load_run", None)
    out = Path(document["page"])
    words = ["--benchmark", "vggss-extended", "--annotations", str(out.parents[1])]
    report(runs, cache, *words, "--out", str(out))
    assert out.read_text("utf-8") == page


def test_without_annotations_the_rest_is_told(
    cache: Cache, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "<b>run"
    shutil.copytree(runs / "seed0", run)
    change_page(run, image_weights="random:3", inputs={"hints/detr-r50": "random:0"})
    assert main(["report", str(run), "--cache", str(cache.path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [str(run / "report.html"), run_report.NOT_SCORED]
    page = (run / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Training", "Data", "Provenance"]
    assert "<b>" not in page
    warned = re.findall(r'<p class="warn">(.*?)</p>', page)
    assert sum("RANDOM weights" in line for line in warned) == 2
    assert "28 clips, 28 done, 0 failed, 0 todo" in page
    document = report(run, tmp_path / "nothing")
    assert document["data"] is document["evaluation"] is None
    assert document["runs"][0]["val_loss"] is not None
    assert "No cache at" in (run / "report.html").read_text()


def test_failures_and_weights_of_the_cache_are_told(runs: Path, tmp_path: Path) -> None:
    why = {"b2": ["no_audio"], "c3": ["no_audio"], "d4": ["timeout"]}
    folder = make_fake_cache(tmp_path / "cache", ["a1", *why], failures=why)
    document = report(runs / "seed0", folder, "--out", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert tables(page)["failed because"][1:] == [["no_audio", "2"], ["timeout", "1"]]
    assert document["data"]["clips"] == {"total": 4, "done": 1, "failed": 3, "todo": 0}
    assert tables(page)["stage"][1][:2] == ["extract", "1"]


def test_an_imported_run_has_no_record(runs: Path, cache: Cache, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "seed0", run)
    (run / "metrics.jsonl").unlink()
    (run / "validation.jsonl").unlink()
    change_page(run, imported={"from": "slavc", "sha256": "ab" * 32}, ids=[], cache="", data="")
    document = report(run, cache)
    page = (run / "report.html").read_text()
    assert document["runs"][0]["loss"] is None
    assert "No record of training" in page
    assert "was imported: from slavc" in page


def test_bad_names_are_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code, said in (
        ([str(runs), "--out", "page.pdf"], 2, "--out page.pdf: not the name of a .html file"),
        ([str(tmp_path)], 4, "holds no run"),
        ([str(runs), "--annotations", str(tmp_path), "--cache", str(tmp_path)], 4, "is no cache"),
    ):
        assert main(["report", *words]) == code
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def points(drawn: str) -> Iterator[list[tuple[float, float]]]:
    """Yield the points of each line of a chart, brought back to values by the axes' labels."""
    root = ElementTree.fromstring(re.search(r"<svg.*?</svg>", drawn, re.DOTALL)[0])  # type: ignore[index]
    labels = [
        (t.get("text-anchor"), float(t.get("x", 0)), float(t.get("y", 0)), t.text)
        for t in root.findall("text")
    ]
    ups = [(y - 4, float(str(text))) for anchor, x, y, text in labels if x == 39]
    acrosses = [(x, float(str(text))) for _, x, y, text in labels if y == 200]

    def value(place: float, known: list[tuple[float, float]]) -> float:
        (a, low), (b, high) = known[0], known[-1]
        return low + (place - a) / (b - a) * (high - low)

    for path in root.findall("path"):
        numbers = re.findall(r"[ML]([\d.-]+),([\d.-]+)", path.get("d", ""))
        yield [(value(float(x), acrosses), value(float(y), ups)) for x, y in numbers]


def test_a_chart_shows_its_numbers() -> None:
    x, y = [0.0, 2.0, 7.0, 10.0], [-3.0, 0.5, 4.0, 1.0]
    drawn = chart("a < b", [Curve("one", x, y), Curve("two", x, [1, np.nan, 2, np.nan], 9)], "step")
    one, two = points(drawn)
    assert np.array(one) == pytest.approx(np.array([x, y]).T, abs=0.05)
    assert np.array(two) == pytest.approx(np.array([(0, 1), (7, 2)]), abs=0.05)
    gaps = re.findall(r'd="(M[^"]*)"', drawn)[1]
    assert gaps.count("M") == 2
    assert "a &lt; b" in drawn
    assert drawn.count("<span>") == 2
    for values in ([5.0], [np.nan], [2.0, 2.0]):
        alone = chart("t", [Curve("n", list(range(len(values))), values)], "x")
        assert "nan" not in alone
        assert "<span>" not in alone


def test_long_records_are_means_of_neighbours(tmp_path: Path) -> None:
    losses = np.random.default_rng(0).random(1001)
    lines = [json.dumps({"step": i + 1, "epoch": 1, "lr": 0.1, "loss": v, "a": 1.0})
             for i, v in enumerate(losses.tolist())]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 1002, "lo')
    history = read_history(tmp_path, "run")
    assert len(history.steps) == 1001
    section = training_section([history])
    assert "A point is the mean of 5 steps." in section
    assert re.findall(r"<h3>(.*?)</h3>", section) == ["loss", "a", "learning rate"]
    (drawn,) = points(section)
    expected = [losses[i : i + 5].mean() for i in range(0, 1001, 5)]
    assert [y for _, y in drawn] == pytest.approx(expected, abs=0.005)
    assert drawn[0][0] == pytest.approx(3, abs=3)
    assert "No record" in training_section([History("x", [], [])])


def test_of_equal_maps_the_surer_comes_first() -> None:
    def sample(name: str, positive: bool, confidence: float, ciou: float) -> ScoredClip:
        return ScoredClip(Pair(name, name), "", positive, confidence, ciou)

    samples = [
        sample("a", True, 0.1, 0.0), sample("b", True, 0.9, 0.0), sample("c", True, 0.5, 0.7),
        sample("d", True, 0.6, 0.7), sample("e", False, 0.3, float("nan")),
        sample("f", False, 0.8, float("nan")), sample("g", True, 1.0, float("nan")),
    ]  # fmt: skip
    found = choose(samples, 2)
    names = [[one.pair.video for one in group] for group in found.values()]
    assert names == [["d", "c"], ["b", "a"], ["f"]]
    assert [one.pair.video for one in choose(samples, 3)["Worst"]] == ["a"]


def test_boxes_are_shares_of_the_frame(tmp_path: Path) -> None:
    here = Pair("clip014", "clip014")
    world = load_benchmark("synth", write_world(tmp_path))
    sounding, silent, _ = world.truth(here, True)
    assert sounding.tolist() == [[0.1, 0.1, 0.5, 0.5]]
    assert silent.tolist() == [[0.5, 0.6, 0.9, 0.9]]
    flickr = load_benchmark(
        "flickr", write_flickr(tmp_path / "flickr", {"clip014": [[[64, 0, 128, 256]]]})
    )
    assert flickr.truth(here, True).sounding.tolist() == [[0.25, 0.0, 0.5, 1.0]]


@pytest.mark.slow
def test_the_pages_commands_run(
    cache: Cache, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_CACHE", str(cache.path))
    (tmp_path / "synth").mkdir()
    write_world(tmp_path / "synth")
    shutil.copytree(runs, "runs/compact")
    page = section(DOCS.read_text("utf-8"), "A page on a run")
    (block,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    commands = re.findall(r"(?m)^\$ avpipe (.*)$", block)
    assert len(commands) >= 3
    for command in commands:
        assert main(shlex.split(command, comments=True)) == 0, command
    assert Path("runs/compact/report.html").exists()


def test_a_cache_of_unheard_clips_alone(runs: Path, tmp_path: Path) -> None:
    """The headline, of heard classes, has nothing: that is told, and the others are shown."""
    cache = make_cache(tmp_path / "avcache", 2, first=22)
    world = write_world(tmp_path)
    page = tmp_path / "page.html"
    document = report(runs / "seed0", cache, "--annotations", str(world), "--out", str(page))
    (run,) = document["evaluation"]["runs"]
    assert (run["n_scored"], run["ceiling"]) == (0, None)
    assert run["subsets"]["unheard"]["av"]["ciou_mean_adaptive"] is not None
    text = page.read_text("utf-8")
    assert "0 of 9 clips scored" in text and "unheard classes" in text
    assert "Best and worst" not in text


def test_a_cache_of_sounds_of_nothing_alone(runs: Path, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "avcache", 2, first=24)
    document = report(runs / "seed0", cache, "--annotations", str(write_world(tmp_path)),
                      "--out", str(tmp_path / "page.html"))  # fmt: skip
    assert document["evaluation"]["runs"][0]["n_scored"] == 0
