"""`bench/gpu.py --dry`: every line of it runs, so that minutes of a lent GPU are not lost."""

import json
from pathlib import Path

import pytest
from warm import Warm

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.path.insert(0, {bench!r})
import gpu
sys.exit(gpu.main())
"""


@pytest.fixture(scope="module")
def found(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gpu")
    program = PROGRAM.format(bench=str(ROOT / "bench"))
    parts = ["train", "precisions", "resume", "knn", "teachers"]  # `tests` would start pytest
    words = ["--dry", "--out", out, "--parts", *parts]
    assert warm.start(program, words, log=out / "log").wait() == [0], (out / "log").read_text()
    return out


def test_every_part_runs(found: Path) -> None:
    document = json.loads((found / "gpu.json").read_text())
    assert document["dry"]
    for part in document["parts"]:
        assert (part["name"], part["state"], part["problem"]) == (part["name"], "done", "")
        assert part["rows"] and part["figures"]


def test_a_resumed_run_and_the_neighbours_are_checked(found: Path) -> None:
    document = json.loads((found / "gpu.json").read_text())
    rows = {part["name"]: part["rows"] for part in document["parts"]}
    assert rows["resume"][0]["ok"] is True
    assert [row["ok"] for row in rows["knn"] if row["wanted"]] == [True, True]


def test_the_table_says_that_it_means_nothing(found: Path) -> None:
    table = (found / "gpu.md").read_text()
    assert "no figure means anything" in table
    assert table.count("\n| teachers |") >= 2


def test_there_are_tests_for_a_gpu() -> None:
    marked = [file for file in (ROOT / "tests").rglob("test_*.py")
              if "@pytest.mark.gpu" in file.read_text()]  # fmt: skip
    assert len(marked) >= 2
