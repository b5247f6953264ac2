"""Ctrl-C in the long programs of the tests is a line, not a traceback."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
PROGRAM = """
import signal, subprocess, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
from stopped import codes_of, run_until_stopped

def main():
    if "below" not in sys.argv:
        words = [sys.executable, *sys.argv, "below"]
        started = [subprocess.Popen(words) for _ in range(2)]
        signal.raise_signal(signal.SIGINT) if "here" in sys.argv else codes_of(started)
        return int(codes_of(started) != [130, 130])
    signal.raise_signal(signal.SIGINT)

run_until_stopped(main)
"""


def run(folder: Path, *words: str) -> tuple[int, str]:
    (folder / "long.py").write_text(PROGRAM)
    variables = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        [sys.executable, folder / "long.py", *words], env=variables, capture_output=True, text=True
    )
    return done.returncode, done.stderr


def test_ctrl_c_is_one_line_that_says_how_to_go_on(tmp_path: Path) -> None:
    line = "long.py: stopped; what is done is kept, the same command goes on from there\n"
    assert run(tmp_path, "below") == (130, line)


def test_of_several_processes_the_first_alone_says_it(tmp_path: Path) -> None:
    assert run(tmp_path) == (0, "")  # its parts were stopped, it was not
    code, said = run(tmp_path, "here")
    assert code == 130 and said.count("stopped") == 1 and "Traceback" not in said


def test_every_program_of_the_tests_that_people_run_says_it() -> None:
    found = []
    for path in [*(TESTS / "faults").glob("*.py"), *(TESTS / "fuzz").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text and "ArgumentParser(" in text:
            assert re.search(r"\n    run_until_stopped\(main", text), path
            found.append(path.name)
    assert {"full.py", "kills.py", "flips.py", "run.py"} <= set(found)
    assert "run_until_stopped(main)" in (TESTS / "endure.py").read_text(encoding="utf-8")
