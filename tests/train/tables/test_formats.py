"""Tables for papers: what stands where, what is escaped, what is bold."""

import csv
import io
import re
from typing import Any

import pytest
from avpipe.printable import from_cell
from avpipe.train.score.table import form_of, remarks
from avpipe.train.tables.formats import formatted, lines_of


def run(name: str, loc_acc: float | None, **other: Any) -> dict[str, Any]:
    av = {"loc_acc": loc_acc, "auc": 0.4, "ciou_mean": 0.3}
    return {
        "run": name, "benchmark": "vggss", "protocol": "avpipe", "geometry": "rf-centred",
        "n_scored": 10, "n_official": 12, "ceiling": 0.5, "missing": ["x", "y"], "leaked": [],
        "leak_free": None, "alphas": {}, "scores": {"av": av, "center": {"loc_acc": 0.2}},
        "pairs": {"all": {"positive": 10}}, "subsets": {}, **other,
    }  # fmt: skip


def document(*runs: dict[str, Any], groups: list[list[int]]) -> dict[str, Any]:
    def reduced(members: list[dict[str, Any]], std: bool) -> dict[str, Any]:
        values = [one["scores"]["av"]["loc_acc"] for one in members]
        av = {"loc_acc": 0.01 if std else sum(values) / len(values), "auc": None if std else 0.4}
        return {"scores": {"av": av}, "subsets": {}, "alphas": {}}

    found = [[runs[i] for i in members] for members in groups]
    return {
        "runs": list(runs),
        "groups": [
            {"name": one[0]["run"], "runs": [own["run"] for own in one],
             "mean": reduced(one, False), "std": reduced(one, True)}
            for one in found
        ],
        "published": [
            {"method": "SLAVC", "trained_on": "VGGSound 144k", "source": "P, Table 1", "main": True,
             "scores": {"loc_acc": 0.3780, "auc": 0.394}},
            {"method": "other", "trained_on": "x", "source": "P", "main": False, "scores": {}},
        ],
        "notices": ["a notice_of 5 %"],
    }  # fmt: skip


STRANGE = "runs/a_b&50%|{x}"


def test_latex() -> None:
    text = formatted(document(run("r/s0", 0.376), run("r/s1", 0.38), groups=[[0, 1]]), "latex",
                     bold=True)  # fmt: skip
    lines = text.splitlines()
    assert lines[0] == (
        "% vggss, protocol avpipe, maps rf-centred: 10 of 12 clips scored; LocAcc can reach 50.00 %"
    )
    assert r"\begin{tabular}{lrrrrrl}" in lines and lines[-1] == r"\end{tabular}"
    assert r"s0, mean of 2 & \textbf{37.80} $\pm$ 1.00 & \textbf{40.00} & - & - & - &  \\" in lines
    published = (
        r"SLAVC & \textbf{37.80} & 39.40 & - & - & - & P, Table 1, trained on VGGSound 144k \\"
    )
    assert published in lines
    assert all(line.count("&") - line.count(r"\&") == 6 for line in lines if line.endswith(r"\\"))
    assert not any("other" in line for line in lines)


def test_latex_escapes_names() -> None:
    text = formatted(document(run(STRANGE, 0.3), groups=[[0]]), "latex")
    assert r"a\_b\&50\%|\{x\} & 30.00" in text and r"\textbf" not in text


def test_markdown() -> None:
    ends = {"loc_acc": [0.25, 0.352], "auc": None}
    one = run(STRANGE, 0.3, intervals=ends, bootstrap=100)
    text = formatted(document(one, groups=[[0]]), "markdown", bold=True)
    head, rule, first, *rest = text.splitlines()
    assert head == r"|  | LocAcc | AUC | mean cIoU | adaptive | AUC adapt. | source |"
    assert rule.count("---") == 7
    assert first == r"| a\_b&50%\|{x} | 30.00 [25.00, 35.20] | **40.00** | - | - | - |  |"
    assert "| SLAVC | **37.80** | 39.40 |" in text
    assert any("95 % intervals over clips, 100 draws" in line for line in rest)
    assert "a notice\\_of 5 %  " in rest


def test_csv_has_what_was_measured() -> None:
    ends = {"loc_acc": [0.25, 0.352], "auc": [0.1, 0.2]}
    whole = document(run("=cmd", 1 / 3, intervals=ends, bootstrap=9), run("b", 0.5),
                     run("c", 0.7), groups=[[0], [1, 2]])  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(formatted(whole, "csv", bold=True))))
    assert from_cell(rows[0]["title"]) == "=cmd" and rows[0]["title"] == "'=cmd"
    assert float(rows[0]["loc_acc"]) == pytest.approx(1 / 3, abs=1e-10)
    assert (rows[0]["loc_acc_low"], rows[0]["loc_acc_high"], rows[0]["loc_acc_std"]) == (
        "0.25", "0.352", ""
    )  # fmt: skip
    assert (rows[1]["title"], rows[1]["loc_acc"], rows[1]["loc_acc_std"]) == (
        "b, mean of 2", "0.6", "0.01",
    )  # fmt: skip
    assert rows[-1]["source"] == "P, Table 1, trained on VGGSound 144k"
    assert [line.title for line in lines_of(whole)][2] == "center prior"


def test_a_score_that_is_missing_is_never_best() -> None:
    text = formatted(document(run("a", None), groups=[]), "markdown", bold=True)
    assert "nan" not in text.lower().replace("mean", "") and "**37.80**" in text


def test_latex_is_balanced() -> None:
    text = formatted(document(run(STRANGE, 0.3), groups=[[0]]), "latex", bold=True)
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")


def with_negatives() -> dict[str, Any]:
    told = {
        "kinds": ["silence", "own"],
        "draws": {"silence": 1, "own": 1},
        "rules": {"q3": "third quartile", "max": "top"},
    }
    whole = document(run("a", 0.3, negatives_from=told), groups=[[0]])
    kinds = {"silence": {"pia": 0.25, "auc_n": 0.5, "tnr": 0.75, "tnr_05": 0.8, "alike": None},
             "own": {"pia": 0.125, "auc_n": 0.5, "tnr": 0.75, "tnr_05": 0.8}}  # fmt: skip
    figures = {"threshold": 0.41234, "f": 0.5, "f_auc": 0.25, "ciou_mean": 0.1, "auc": 0.2}
    whole["groups"][0]["mean"]["negatives"] = {
        "q3": {**figures, **kinds}, "max": {**figures, **kinds, "threshold": 0.9},
    }  # fmt: skip
    return whole


def test_negatives_are_a_second_table() -> None:
    text = formatted(with_negatives(), "latex")
    assert text.count(r"\begin{tabular}") == 2
    assert (
        r"a, q3 & 0.4123 & 50.00 & 25.00 & 10.00 & 20.00 & 25.00 & 50.00 & 75.00 & 80.00 & - &"
        in text
    )
    assert text.splitlines()[-3].endswith(r"& top \\")
    text = formatted(with_negatives(), "csv")
    rows = list(csv.DictReader(io.StringIO(text), strict=True))
    assert {len(row) for row in csv.reader(io.StringIO(text), strict=True)} == {len(rows[0])}
    q3, top = rows[-2:]  # in the same table, in columns of their own
    assert (q3["title"], q3["negatives_threshold"], q3["own_pia"]) == ("a, q3", "0.41234", "0.125")
    assert (top["source"], top["negatives_threshold"], top["loc_acc"]) == ("top", "0.9", "")
    assert rows[0]["own_pia"] == "" and "silence_alike" not in q3
    assert "| a, max | 0.9000 | 50.00 |" in formatted(with_negatives(), "markdown")


def test_deviations_over_draws_stand_beside_their_figures() -> None:
    whole = with_negatives()
    for figures in whole["groups"][0]["mean"]["negatives"].values():
        figures["std"] = {"f": 0.01, "silence": {"pia": 0.02}}
    whole["runs"][0]["negatives_from"]["draws"]["silence"] = 10
    assert "50.00 ± 1.00 |" in formatted(whole, "markdown")
    told = "silence: mean and standard deviation of 10 draws of whose sound it is"
    assert told in formatted(whole, "markdown") and f"% {told}" in formatted(whole, "latex")
    assert r"25.00 $\pm$ 2.00 &" in formatted(whole, "latex")
    row = list(csv.DictReader(io.StringIO(formatted(whole, "csv"))))[-2]
    found = row["negatives_f"], row["negatives_f_std"], row["silence_pia_std"]
    assert found == ("0.5", "0.01", "0.02")
    assert "own_pia_std" not in row and "negatives_threshold_std" not in row


def test_what_cannot_be_compared_is_never_best() -> None:
    """Other clips, rules that were varied, and the truth itself."""
    whole = document(run("a", 0.3), groups=[[0]])
    whole["published"] = []
    whole["groups"][0]["mean"]["subsets"] = {"small": {"av": {"loc_acc": 0.9}}}
    whole["groups"][0]["mean"]["alphas"] = {"0.2": {"loc_acc": 0.8}}
    whole["runs"][0]["pairs"]["small"] = {"positive": 3}
    whole["runs"][0]["scores"]["random_true_box"] = {"loc_acc": 0.7}
    text = formatted(whole, "markdown", bold=True)
    assert "**30.00**" in text and not re.search(r"\*\*[789]0", text)
    assert "90.00" in text and "80.00" in text and "70.00" in text


def test_lines_about_leaks_give_a_score_that_there_is() -> None:
    """Where half of the picture can find no source there is no LocAcc to give."""
    leaked = {"n_scored": 7, "scores": {"av": {"loc_acc": None, "auc": 0.3}}}
    whole = document(run("a", None, leaked=["x"], leak_free=leaked), groups=[])
    (line,) = [line for line in remarks(whole, form_of("vggss")) if line.startswith("leaked")]
    assert line.endswith("AUC is 40.00 with them, 30.00 on the 7 others")
