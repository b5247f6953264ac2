"""docs/demo.ipynb runs from top to bottom, and shows its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from processes import close_decoders

NOTEBOOK = json.loads((Path(__file__).parents[2] / "docs/demo.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SHORT = ("EPOCHS = 60", "EPOCHS = 4")


def test_it_is_committed_without_outputs() -> None:
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(CODE)
    assert {cell["execution_count"] for cell in cells} == {None}
    assert NOTEBOOK["nbformat"] == 4 and NOTEBOOK["metadata"]["kernelspec"]["name"] == "python3"


def test_its_first_cell_installs_avpipe_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: asked.append(command))
    exec(CODE[0], {})
    assert asked == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(CODE[0], {})
    assert [command[1:] for command in asked] == [["-m", "pip", "install", "-q", "avpipe"]]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_it_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_JOBS", "1")
    mpl.use("agg")
    shown: list[np.ndarray] = []

    def show() -> None:
        canvas: Any = plt.gcf().canvas
        canvas.draw()
        shown.append(np.asarray(canvas.buffer_rgba()))
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    space: dict[str, Any] = {"__name__": "__main__"}
    whole = "\n".join(CODE)
    assert SHORT[0] in whole
    for cell in CODE:
        exec(compile(cell.replace(*SHORT), "docs/demo.ipynb", "exec"), space)
    close_decoders()
    assert len(shown) == whole.count("plt.show()") == 3
    assert all(len(np.unique(picture.reshape(-1, 4), axis=0)) > 500 for picture in shown)
    assert "right object" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "avpipe-notebook/localized").glob("s*"))
