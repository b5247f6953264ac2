"""One system call fails, or the process ends at it: one line, its code, and the rerun finishes.

A choice of cases; `make faults-full` tries every call of every command with every fault.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fault_checks import Checker, kinds_of
from fault_commands import COMMANDS, Bench, open_bench
from fault_table import Line, read_lines, table
from injected import EXITED, FAULTS, KINDS, MOVES, WAS_KILLED, compiler
from injected_python import COVERED

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does"),
]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_bench(tmp_path_factory.mktemp("bench"), pure=compiler() is None) as made:
        yield made


@pytest.fixture(scope="module")
def checker(bench: Bench) -> Checker:
    return Checker(bench)


@pytest.fixture(scope="module")
def pure_checker(bench: Bench) -> Iterator[Checker]:
    pure = Bench(bench.folder, pure=True)
    yield Checker(pure)
    pure.close()


@needs_compiler
@pytest.mark.parametrize(
    ("command", "fault", "kind", "at", "codes"),
    [
        ("drop", "EIO", "rmdir", 1, {7}),
        ("drop", "exit", "rmdir", 1, {EXITED}),
        ("drop", "EMFILE", "open", 4, {7}),
        ("drop audio", "EIO", "unlink", 2, {7}),
        ("verify --repair", "EIO", "rename", 1, {7}),
        ("verify --repair", "EIO", "read", 14, {0, 7}),
        ("verify --repair", "EDQUOT", "write", 1, {7}),
        ("verify --repair", "kill", "rename", 2, {WAS_KILLED}),
        ("export", "EMFILE", "open", 2, {7}),
        ("export", "ENOSPC", "write", 1, {7}),
        ("export", "short", "write", 1, {0}),
        ("export", "exit", "fsync", 1, {EXITED}),
        ("localize", "EMFILE", "open", 5, {7}),
        ("localize", "kill", "rename", 1, {WAS_KILLED}),
        ("evaluate", "EIO", "read", 12, {4, 7}),
        ("evaluate", "exit", "rename", 2, {EXITED}),
        ("train", "ENOSPC", "create", 4, {0, 7}),
        ("train", "kill", "fsync", 4, {WAS_KILLED}),
        ("train --val-ids", "EROFS", "create", 3, {0, 7}),
        ("extract", "EIO", "read", 17, {0}),  # a decoder's
        ("extract --jobs 2", "kill", "pwrite", 30, {0}),  # a worker's
        ("synth", "ENOSPC", "rename", 3, {7}),
        ("embed-teachers", "EMFILE", "create", 2, {0, 7}),
        ("import-checkpoint", "EMFILE", "read", 20, {4}),
    ],
)
def test_one_call_fails(
    command: str, fault: str, kind: str, at: int, codes: set[int], checker: Checker
) -> None:
    found, lost = checker.survives(command, fault, at, [kind])
    assert found.hit.startswith(f"{kind} "), f"there are not {at} calls of {kind}"
    assert found.code in codes, found
    assert not lost, found


@pytest.mark.parametrize(
    ("command", "fault", "kind", "at"),
    [("drop", "EIO", "unlink", 1), ("verify --repair", "kill", "fsync", 2)],
)
def test_without_a_compiler(
    command: str, fault: str, kind: str, at: int, pure_checker: Checker
) -> None:
    assert kind in COVERED
    found, lost = pure_checker.survives(command, fault, at, [kind])
    assert found.hit.startswith(f"{kind} ")
    assert found.code == (WAS_KILLED if fault == "kill" else 7), found
    assert not lost, found


def full() -> ModuleType:
    spec = importlib.util.spec_from_file_location("full", Path(__file__).with_name("full.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_compiler
def test_program_goes_on_where_it_stopped(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program, out = full(), tmp_path / "cases.jsonl"
    monkeypatch.setattr(program, "open_bench", lambda folder: nullcontext(bench))
    words = ["--commands", "verify --repair", "--faults", "EIO,short", "--every", "30"]
    monkeypatch.setattr(sys, "argv", ["full.py", "--out", str(out), *words])
    assert program.main() == 0
    lines = read_lines(out)
    assert {line["fault"] for line in lines} == {"EIO", "short"}
    assert all(line["kind"] and not line["lost"] for line in lines)
    assert f"{len(lines)} cases, {len(lines)} survived, 0 lost" in capsys.readouterr().out
    with out.open("a") as file:
        file.write('{"command": "dr')  # a process was killed while it wrote
    assert program.main() == 0
    assert read_lines(out) == lines


def test_table_counts_what_is_lost() -> None:
    line = {"command": "drop", "kind": "unlink", "file": "x", "s": 1.0, "commit": "abc"}
    line |= {"date": "2026-01-01", "in_child": False, "code": 7}
    lines = [
        {**line, "fault": "EIO", "at": 1, "lost": ""},
        {**line, "fault": "EIO", "at": 2, "lost": "stray files: a"},
        {**line, "fault": "exit", "at": 2, "lost": ""},
    ]
    found = table(json.loads(json.dumps(lines)))
    assert "3 cases, 2 survived, 1 lost" in found
    assert "| drop | 2 | 2 | 1 | 3 | 2 | 1 |" in found
    assert "lost: drop: stray files: a: 1 cases, such as EIO at call 2 (unlink x)" in found


def line_of(command: str, fault: str, at: int, **more: Any) -> Line:
    line: Line = {"command": command, "fault": fault, "at": at, "kind": "read", "file": "x"}
    line |= {"s": 1.0, "date": "2026-01-01", "commit": "abc", "calls": 2, "lost": ""}
    return line | more


SEVERAL = [
    line_of("drop", "EIO", 1),
    line_of("drop", "EIO", 2),
    line_of("drop", "short", 1, calls=1),
    line_of("export", "EIO", 1, calls=3),
    line_of("export", "EIO", 2, calls=3, lost="what is another call by now"),
    line_of("export", "EIO", 1, calls=4, commit="def", date="2026-01-02"),
]
"""Lines of two commits, between which `export` came to make another call."""


def test_table_tells_commits_and_leaves_out_what_is_another_case_by_now() -> None:
    found = table(SEVERAL).splitlines()
    assert found[0].startswith("4 cases, 4 survived, 0 lost; ")
    assert "2026-01-01 to 2026-01-02, cases at commit abc: 3, def: 1." in found[0]
    assert found[0].endswith("by now: 1.")
    assert "| export | 1 | 1 | 0 | 1 | 1 | 0 |" in found


def test_a_case_is_done_at_whatever_commit_while_its_command_makes_as_many_calls() -> None:
    program = full()
    lines = [*SEVERAL, line_of("drop", "exit", 1, lost="a file")]
    calls = {("drop", KINDS): 2, ("drop", MOVES): 1, ("export", KINDS): 4}
    done = {("drop", "EIO", 1), ("drop", "EIO", 2), ("drop", "short", 1), ("export", "EIO", 1)}
    assert program._done(lines, calls, "def") == done  # lost at another commit: once more
    assert program._done(lines, calls, "abc") == done | {("drop", "exit", 1)}
    assert program._done(lines, calls | {("drop", KINDS): 3}, "def") == done - {
        ("drop", "EIO", 1),
        ("drop", "EIO", 2),
    }


@pytest.mark.slow
@needs_compiler
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_fiftieth_call_fails(
    command: str, checker: Checker, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: Counter[int] = Counter()
    wrong = []
    for number, fault in enumerate(FAULTS):
        bench = checker.bench
        calls = bench.injector(command).run(bench.begin(command), kinds=kinds_of(fault)).calls
        for at in range(1 + 5 * number, calls + 1, 50):
            found, lost = checker.survives(command, fault, at)
            codes[found.code] += 1
            if lost:
                wrong.append(f"{fault} at call {at}, {found.hit}: {lost}\n{found.stderr}")
    with capsys.disabled():
        told = ", ".join(f"{number} ended with {code}" for code, number in sorted(codes.items()))
        print(f"\n{command}: {codes.total()} cases: {told}")
    assert not wrong, "\n".join(wrong)
