"""What `make venv` tells while pip works."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci/install.py"
LINES = """\
Collecting av<20,>=16 (from -c constraints.txt (line 3))
  Downloading https://host/av-16.0-cp311-manylinux.whl.metadata (4.6 kB)
Requirement already satisfied: pip in somewhere
Collecting torch==2.11.0
  Using cached torch-2.11.0-cp311-manylinux.whl (900.1 MB)
WARNING: something of this machine
Installing collected packages: av, numpy, torch
Successfully installed av numpy torch
"""


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_phases_are_known_by_pips_words(install: ModuleType) -> None:
    said, now = install.Said(), []
    for line in LINES.splitlines(keepends=True):
        said.add(line)
        now.append(said.now)
    assert now[:2] == ["fetching, package 1: av<20,>=16", "fetching, package 1: av (4.6 kB)"]
    assert now[4] == "fetching, package 2: torch (900.1 MB)"
    assert now[-1] == "installing 3 packages" and said.phase == "installing"


@pytest.mark.parametrize(("code", "last"), [(0, "done"), (1, "Successfully installed av")])
def test_a_line_for_each_phase_and_pips_own_when_it_fails(
    code: int, last: str, install: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big").write_bytes(bytes(200_000_000 // 1000))
    program = f"import sys; print({LINES!r}, end='', flush=True); sys.exit({code})"
    install.PIP = [sys.executable, "-c", program]
    assert install.main(tmp_path, ["--editable", "."]) == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in lines[:2]] == [
        "fetching, package 1: av<20,>=16", "installing 3 packages"
    ]  # fmt: skip
    assert last in lines[-1]
    assert ("WARNING: something of this machine" in lines) == bool(code)


def test_a_silent_pip_is_told_of_all_the_same(
    install: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install.EVERY_S = 0.01
    told = tmp_path / "told"
    program = (
        f"import pathlib, time\nwhile not pathlib.Path({str(told)!r}).exists(): time.sleep(0.01)"
    )
    install.PIP = [sys.executable, "-c", program]
    shown = install.size_gb

    def counted(folder: Path) -> float:  # pip ends once three lines have been asked for
        counted.times += 1
        if counted.times == 3:
            told.touch()
        return shown(folder)

    counted.times = 0
    install.size_gb = counted
    assert install.main(tmp_path, []) == 0
    assert capsys.readouterr().out.count("GB: starting") >= 3
