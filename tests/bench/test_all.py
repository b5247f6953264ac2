"""`make bench`: figures kept bench by bench, ratios of rounds, and the page's tables."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from bench_modules import BENCH, bench_modules

MODULES = ("all", "common", "machine_words")


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, ModuleType]]:
    """The modules of the bench; afterwards other tests do not find them."""
    with bench_modules(*MODULES) as modules:
        yield modules


def test_a_ratio_is_of_rounds(bench: dict[str, ModuleType]) -> None:
    ours = np.array([[1.0, 3.0], [2.0, 2.0], [5.0, 3.0]])
    theirs = np.array([[2.0, 2.0], [1.0, 1.0], [1.0, 3.0]])
    found = bench["common"].ratio(ours, theirs)
    each = sorted(sum(a) / sum(b) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True))
    assert (found.low, found.median, found.high) == pytest.approx(each)
    assert str(found) == "2.00 (1.00 to 2.00)"
    assert bench["common"].ratio([2.0, 4.0], [1.0, 1.0]).median == 3


@pytest.fixture
def results(
    bench: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Benches that are not run; returns the names of those that would have been, in order.

    Their figures have names of their own choosing, which may be those of ours.
    """
    module, ran = bench["all"], list[str]()
    (tmp_path / "README.md").write_text(f"# Benches\n\n{module.BEGIN}\nold\n{module.END}\n\nEnd\n")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(module, "PAGE", tmp_path / "README.md")
    monkeypatch.setattr(module, "BENCHES", {"read": (), "knn": ("--rounds", "2")})

    def run(command: list[str], **_: object) -> SimpleNamespace:
        ran.append(name := Path(command[1]).stem)
        headline = [[f"what {name} takes", "2 s", "<= 3 s"]]
        found = {"seconds": {"a": 1.0}, "load": 0.2, "text": "figures", "headline": headline}
        stopped = name == "knn" and len(ran) == 2
        return SimpleNamespace(returncode=int(stopped), stdout=json.dumps(found))

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module, "machine_words", lambda: {"CPU": "a CPU"})
    return ran


def test_a_stopped_run_goes_on(
    bench: dict[str, ModuleType], results: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bench["all"]
    monkeypatch.setattr(sys, "argv", ["all.py"])
    with pytest.raises(SystemExit, match=r"knn.py ended with 1"):
        module.main()
    assert set(json.loads(module.RESULTS.read_text())["benches"]) == {"read"}
    module.main()
    assert results == ["read", "knn", "knn"]
    page = module.PAGE.read_text()
    assert "old" not in page and page.startswith("# Benches\n") and page.endswith("\n\nEnd\n")
    assert "| `read.py` | what read takes | 2 s | <= 3 s |" in page
    assert "### `python bench/knn.py --rounds 2`" in page
    assert ": CPU a CPU." in page
    assert page.count("0 s, load ") == 2
    monkeypatch.setattr(sys, "argv", ["all.py", "read"])
    module.main()
    assert results[-1] == "read" and len(results) == 4


def test_the_page_holds_what_the_results_say(bench: dict[str, ModuleType]) -> None:
    module = bench["all"]
    shown = module.PAGE.read_text().partition(module.BEGIN)[2].partition(module.END)[0]
    assert shown.strip() == module.tables(module.read_results()["benches"]).strip()


def test_every_bench_is_a_file_and_on_the_page(bench: dict[str, ModuleType]) -> None:
    page = (BENCH / "README.md").read_text()
    for name in bench["all"].BENCHES:
        assert (BENCH / f"{name}.py").is_file()
        assert f"| `{name}.py` |" in page
    assert set(bench["all"].QUICK) <= set(bench["all"].BENCHES)


def test_a_machine_has_a_name(bench: dict[str, ModuleType]) -> None:
    words = bench["machine_words"].machine_words()
    assert words["CPU"] and int(words["cores"]) >= 1
    assert re.match(r"\d", words["numpy"])
