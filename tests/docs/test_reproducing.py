"""The commands of docs/reproducing.md are ones that would start, and its figures the published."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from avpipe.cache.schema import RUN_REGIONS
from avpipe.pipeline.commands.evaluate import parse_shares
from avpipe.pipeline.commands.train import parse_seeds
from avpipe.pipeline.extract.lists import read_entries
from avpipe.pipeline.id_lists import read_ids
from avpipe.pipeline.networks.choose import encoders_of
from avpipe.pipeline.networks.run_encoder import run_encoder_name
from avpipe.stages.teachers.protocol import choices
from avpipe.train.benchmarks import benchmark_names, load_benchmark
from avpipe.train.objectives import head_number, load_objective
from avpipe.train.recipe import load_recipe
from avpipe.train.score.protocols import load_protocol
from avpipe.train.score.published import published_rows
from avpipe.train.start import check_weights
from command_pages import fenced_commands, parse

PAGE = (Path(__file__).parents[2] / "docs/reproducing.md").read_text(encoding="utf-8")
COMMANDS = fenced_commands(PAGE)
MADE = [values for name, values in map(parse, COMMANDS) if name == "train"]
METADATA = Path(__file__).parents[3] / "shared/metadata"
COLUMNS = {
    "LocAcc": "loc_acc", "AUC": "auc", "AP": "ap", "max-F1": "max_f1", "mIoU": "miou",
    "F": "f_measure", "CIoU@.3": "duet_30", "max-F1 real": "max_f1_real",
    "max-F1 easy": "max_f1_easy", "max-F1 hard": "max_f1_hard",
}  # fmt: skip
CACHES = {"vgg": "vgg", "fli": "flickr", "avs": "avs", "mus": "music-test"}


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_would_start(words: str) -> None:
    name, values = parse(words)
    if name == "train":
        recipe = load_recipe(values["recipe"], values["set"] or ())
        check_weights(recipe, load_objective(recipe.objective))
        assert values["run"] and (values["seeds"] is None or parse_seeds(values["seeds"]))
    elif name == "evaluate":
        assert values["benchmark"] in benchmark_names() and values["annotations"]
        load_protocol(values["protocol"], values["paper"])
        parse_shares(values["alpha"], "--alpha")
        parse_shares(values["predicted"], "--predicted", positive=True)
        parse_shares(values["at"], "--at", positive=True)
        runs = [run for run in MADE if run["run"] in values["runs"]]
        if head := values["head"]:
            for run in runs:
                recipe = load_recipe(run["recipe"], run["set"] or ())
                head_number(load_objective(recipe.objective), recipe.objective, head)
        made = {parse(other)[1]["run"] for other in COMMANDS if other.startswith("train")}
        assert set(values["runs"]) <= made
    elif name == "embed-teachers":
        assert encoders_of(values["visual"], values["audio"])
    elif name == "knn":
        assert values["image"] in [*choices("visual"), "none"] or run_is_made(values["image"])
        assert values["audio"] in choices("audio") or run_is_made(values["audio"])
    elif name == "cluster":
        assert run_is_made(values["encoder"])
    else:
        assert name in ("extract", "weights", "status", "localize")


def run_is_made(name: str) -> bool:
    """Whether an encoder is a run that the page trains, called as later lines of the page say."""
    used = {setting for run in MADE for setting in run["set"] or ()}
    called, seen = run_encoder_name(name), run_encoder_name(name, RUN_REGIONS)
    by_sound, clusters = f"audio_neighbors={called}", f"clusters={called}-k11"
    return any(name == f"run:{run['run']}" for run in MADE) and (
        {by_sound, clusters} <= used or {by_sound, f"image_neighbors={seen}"} <= used
    )


def test_the_papers_rows_are_trained_in_float32() -> None:
    assert MADE and all("precision=fp32" in (run["set"] or ()) for run in MADE)


def shell_line(start: str) -> str:
    (line,) = re.findall(rf"(?m)^{start}.*$", PAGE)
    return line


def test_the_real_negatives_of_extended_vggss_are_extracted(tmp_path: Path) -> None:
    """Those that VGGSound's table never makes: the clips with their own sound."""
    if not METADATA.is_dir():
        pytest.skip("no ../shared/metadata beside the checkout")
    (tmp_path / "metadata").symlink_to(METADATA)
    subprocess.run(shell_line("awk -F, .NR"), shell=True, check=True, cwd=tmp_path, timeout=60)
    entries = list(read_entries(str(tmp_path / "negatives.csv")))
    test = load_benchmark("vggss-extended", METADATA)
    real = [item.pair.video for item in test.items if item.kind == "real"]
    assert [entry.id for entry in entries] == real and len(real) == 379
    assert all(entry.source == entry.id[:11] and entry.seconds == 10 for entry in entries)
    assert not set(real) & set(load_benchmark("vggss", METADATA).clip_ids)


def test_vggsounds_training_clips_are_brought_to_our_ids(tmp_path: Path) -> None:
    lines = (
        '---g-f_I2yQ,1,people marching,train\n-AB,12,"car, engine",test\nxyz,30,"a, b",train\r\n'
    )
    (tmp_path / "vggsound.csv").write_bytes(lines.encode())
    subprocess.run(shell_line("awk -F, '.NF"), shell=True, check=True, cwd=tmp_path, timeout=60)
    assert read_ids(tmp_path / "vggsound_train.txt") == ["---g-f_I2yQ_000001", "xyz_000030"]


def test_no_row_is_given_up() -> None:
    """Every own row of the five papers, and of their pages, is one that a command makes."""
    methods = {
        "EZ-VSL": ("EZ-VSL",),
        "SLAVC": ("SLAVC",),
        "SSL alignment": ("SSL alignment",),
        "AVC distillation": ("AVC", "OG-AVC"),
        "Sound promotion": ("Sound promotion",),
    }
    shown = {row["published method"] for _, row in rows()}
    lacking = {
        (name, row["method"], row["source"])
        for name in benchmark_names()
        for row in published_rows(name)
        for paper, own in methods.items()
        if row["source"].startswith(paper)
        and row["method"].startswith(own)
        and row["method"] not in shown
    } - {("retrieval", "SSL alignment", "SSL alignment (ICCV 2023), Table 6")}  # in a sentence
    assert lacking == set()
    assert "cannot be made" not in PAGE


def test_the_alignment_loaders_list_is_brought_to_our_ids(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    lines = "gklbB7TYoK4_30000_40000\n-a_cd_fgh1k_0_10000\nzpWuikVorYg_132000_142000\n"
    (tmp_path / "metadata/ours_vggss.txt").write_text(lines)
    subprocess.run(shell_line("awk '{printf"), shell=True, check=True, cwd=tmp_path, timeout=60)
    found = read_ids(tmp_path / "vggss_4655.txt")
    assert found == ["gklbB7TYoK4_000030", "-a_cd_fgh1k_000000", "zpWuikVorYg_000132"]


def test_every_frame_of_music_becomes_a_clip_of_its_second(tmp_path: Path) -> None:
    """By the ids that the benchmarks look for."""
    (tmp_path / "metadata").mkdir()
    name = "4Oy5VmaacaI_0_1000/frame_013/00411.jpg"
    box = {"normbox": [0, 0, 1, 1], "category_id": 1}
    for file, frame in (("solo", name), ("duet", name.replace("013", "007"))):
        path = tmp_path / f"metadata/{file}test.json"
        path.write_text(json.dumps({frame: {"bbox": [box]}}))
    line = shell_line("python3 -c").replace("python3", shlex.quote(sys.executable), 1)
    subprocess.run(line, shell=True, check=True, cwd=tmp_path, timeout=60)
    entries = list(read_entries(str(tmp_path / "music_test.csv")))
    assert [(entry.path, entry.start_s, entry.seconds) for entry in entries] == [
        ("4Oy5VmaacaI_0_1000.mp4", 13, 1),
        ("4Oy5VmaacaI_0_1000.mp4", 7, 1),
    ]
    assert [entries[0].id] == load_benchmark("music-solo", tmp_path / "metadata").clip_ids


@pytest.mark.parametrize(
    ("source", "methods"),
    [
        ("SSL alignment (ICCV 2023), Table 2", {"SSL alignment", "SSL alignment + OGL"}),
        ("SSL alignment (ICCV 2023), Table 3", {"SSL alignment", "SSL alignment + OGL"}),
        ("SSL alignment (ICCV 2023), Table 4", {"SSL alignment"}),
        ("SLAVC (NeurIPS 2022), Table 2, stopped early on the test set", {"SLAVC", "SLAVC + OGL"}),
        ("SSL alignment (ICCV 2023), Table 7", {"SSL alignment"}),
        ("AVC distillation (ICMI 2023), Table 1", {"AVC distillation"}),
        ("AVC distillation (ICMI 2023), Table 3", {"OG-AVC"}),
    ],
)
def test_every_row_of_the_methods_own_tables_is_there(source: str, methods: set[str]) -> None:
    published = {
        (name, row["method"], f"{100 * row['scores']['loc_acc']:.2f}")
        for name in benchmark_names()
        for row in published_rows(name)
        if row["source"] == source and row["method"] in methods
    }
    shown = {
        (row["benchmark"], row["published method"], f"{float(row['LocAcc']):.2f}")
        for _, row in rows()
        if "benchmark" in row and row.get("LocAcc")
    }
    assert published and published <= shown


def test_all_papers_are_there() -> None:
    recipes = {parse(words)[1]["recipe"] for words in COMMANDS if words.startswith("train")}
    assert recipes == {
        *("ez-vsl", "slavc", "slavc-paper", "multi-positive", "distill", "spm-audio", "spm")
    }
    assert "Not run here" in PAGE and len(COMMANDS) >= 40


def rows() -> list[tuple[str, dict[str, str]]]:
    """Return every row of the tables below a paper's heading: the section, and its cells."""
    found = []
    for section in re.split(r"(?m)^## ", PAGE)[1:]:
        for table in re.findall(r"(?m)(?:^\|.*\n)+", section):
            head, _, *lines = (
                [cell.strip() for cell in line.strip()[1:-1].split("|")]
                for line in table.splitlines()
            )
            found += [
                (section.split("\n")[0], dict(zip(head, line, strict=True))) for line in lines
            ]
    return found


def test_every_row_that_names_a_benchmark_has_the_line_that_scores_it() -> None:
    lines: dict[str, list[dict[str, Any]]] = {}
    for section in re.split(r"(?m)^## ", PAGE)[1:]:
        found = [parse(words) for words in fenced_commands(section)]
        lines[section.split("\n")[0]] = [values for name, values in found if name == "evaluate"]
    named = [(section, row) for section, row in rows() if "benchmark" in row]
    assert len(named) >= 25
    for section, row in named:
        run = row.get("run")
        assert any(
            values["benchmark"] == row["benchmark"]
            and (run is None or f"runs/{run}" in map(str, values["runs"]))
            and str(values["cache"]) == CACHES[row["benchmark"][:3]]
            for values in lines[section]
        ), row


SECTIONS: dict[str, dict[str, Any]] = {
    "EZ-VSL": {"source": "EZ-VSL"},
    "SLAVC": {"source": "SLAVC", "benchmark": "vggss-extended"},
    "Cross-modal": {"source": "SSL alignment", "benchmark": "vggss"},
    "Audio-visual": {"source": "AVC distillation", "benchmark": "flickr"},
    "Sound promotion": {"source": "Sound promotion", "auc": "duet_auc"},
}
"""Whose rows they are, and the benchmark where a table names none."""


@pytest.mark.parametrize(("section", "row"), rows())
def test_its_figures_are_the_published(section: str, row: dict[str, str]) -> None:
    known = next(value for name, value in SECTIONS.items() if section.startswith(name))
    figures = {
        known.get(COLUMNS[name], COLUMNS[name]): float(text) / 100
        for name, text in row.items()
        if name in COLUMNS and text
    }
    published = [
        one
        for one in published_rows(row.get("benchmark") or known["benchmark"])
        if one["method"] == row["published method"]
        and one["source"].startswith(known["source"])
        and row.get("trained on", one["trained_on"]) == one["trained_on"]
        and one["source"].endswith(row.get("table", ""))
    ]
    assert published
    assert any(
        {name: one["scores"].get(name) for name in figures} == pytest.approx(figures)
        for one in published
    )


def test_every_setting_of_its_tables_is_accepted() -> None:
    recipes = {"SLAVC": "slavc", "Cross-modal": "multi-positive", "Audio-visual": "distill"}
    settings = [(section, row["`--set`"]) for section, row in rows() if "`--set`" in row]
    assert len(settings) >= 27
    for section, text in settings:
        name = next(recipe for start, recipe in recipes.items() if section.startswith(start))
        recipe = load_recipe(name, re.findall(r"`([^`]+)`", text))
        check_weights(recipe, load_objective(recipe.objective))


def test_retrieval_and_sound_promotion_are_as_printed() -> None:
    (own,) = (row for row in published_rows("retrieval") if row["method"] == "SSL alignment")
    shown = [
        float(text) / 100 for text in re.findall(r"\d+\.\d\d", re.search(r"Table 6 .*", PAGE)[0])
    ]
    assert shown == pytest.approx(
        [own["scores"][f"{way}_r{k}"] for way in ("a2i", "i2a") for k in (1, 5, 10)]
    )
