"""The commands of docs/reproducing.md are ones that would start, and its figures the published."""

import re
from pathlib import Path
from typing import Any

import pytest
from avpipe.pipeline.teachers import TeacherSettings
from avpipe.pipeline.training import parse_alphas, parse_seeds
from avpipe.stages.teachers.protocol import choices
from avpipe.train.benchmarks import benchmark_names
from avpipe.train.objectives import load_objective
from avpipe.train.protocols import load_protocol
from avpipe.train.published import published_rows
from avpipe.train.recipe import load_recipe
from avpipe.train.start import check_weights
from command_pages import fenced_commands, parse

PAGE = (Path(__file__).parents[1] / "docs/reproducing.md").read_text(encoding="utf-8")
COMMANDS = fenced_commands(PAGE)
COLUMNS = {"LocAcc": "loc_acc", "AUC": "auc", "AP": "ap", "max-F1": "max_f1"}


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_would_start(words: str) -> None:
    name, values = parse(words)
    if name == "train":
        recipe = load_recipe(values["recipe"], values["set"] or ())
        check_weights(recipe, load_objective(recipe.objective))
        assert parse_seeds(values["seeds"]) and values["run"]
    elif name == "evaluate":
        assert values["benchmark"] in benchmark_names() and values["annotations"]
        load_protocol(values["protocol"], values["paper"])
        parse_alphas(values["alpha"])
        made = {parse(other)[1]["run"] for other in COMMANDS if other.startswith("train")}
        assert set(values["runs"]) <= made
    elif name == "embed-teachers":
        assert TeacherSettings(values["cache"], values["visual"], values["audio"]).names()
    elif name == "knn":
        assert values["image"] in choices("visual") and values["audio"] in choices("audio")
    else:
        assert name in ("extract", "weights", "status", "cluster", "localize")


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
            and str(values["cache"]) == row["benchmark"][:3].replace("fli", "flickr")
            for values in lines[section]
        ), row


SECTIONS: dict[str, dict[str, Any]] = {
    "EZ-VSL": {"source": "EZ-VSL"},
    "SLAVC": {"source": "SLAVC", "benchmark": "vggss-extended"},
    "Cross-modal": {"source": "SSL alignment", "benchmark": "vggss"},
    "Audio-visual": {"source": "AVC distillation", "benchmark": "flickr"},
}
"""Whose rows they are, and the benchmark where a table names none."""


@pytest.mark.parametrize(("section", "row"), rows())
def test_its_figures_are_the_published(section: str, row: dict[str, str]) -> None:
    known = next(value for name, value in SECTIONS.items() if section.startswith(name))
    figures = {
        COLUMNS[name]: float(text) / 100 for name, text in row.items() if name in COLUMNS and text
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
