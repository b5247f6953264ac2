"""Every call of every command that writes fails once with every fault: what is lost?

`python tests/faults/full.py --out cases.jsonl` runs them in an order that is drawn once, so that
what is done at any time is a fair sample; a line of JSON each is appended to the file, and cases
that it holds already are passed over. `--table` prints what the file tells.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fault_checks import Checker, kinds_of
from fault_commands import COMMANDS, open_bench
from fault_table import Line, counted, read_lines, table
from injected import FAULTS, Injector, compiler
from stopped import codes_of, run_until_stopped

Case = tuple[str, str, int]
Calls = dict[tuple[str, Sequence[str]], int]


def main() -> int:
    """Run what the command line asks for; 1 if something was lost."""
    asked = _arguments()
    if compiler() is None:
        sys.exit("full.py: no C compiler: install gcc or clang")
    if asked.out.exists() and asked.out.read_bytes()[-1:] not in (b"", b"\n"):
        with asked.out.open("a") as file:
            file.write("\n")  # a process was killed while it wrote
    if asked.table:
        print(table(read_lines(asked.out)))
    elif asked.part is None and asked.jobs > 1:
        words = [sys.executable, *sys.argv]
        parts = [f"{number}/{asked.jobs}" for number in range(asked.jobs)]
        started = [subprocess.Popen([*words, "--part", part]) for part in parts]
        codes = codes_of(started)
        if any(code not in (0, 1) for code in codes):
            return max(codes)
        print(table(read_lines(asked.out)))
    else:
        _run(asked)
        if asked.part is None:
            print(table(read_lines(asked.out)))
    return int(any(line["lost"] for line in counted(read_lines(asked.out))))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON for each case")
    parser.add_argument("--jobs", type=int, default=1, help="processes that run cases")
    parser.add_argument("--commands", default=",".join(COMMANDS), help="these alone")
    parser.add_argument("--faults", default=",".join(FAULTS), help="these alone")
    parser.add_argument("--every", type=int, default=1, help="every K-th call alone")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no case after so many")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.commands, asked.faults = asked.commands.split(","), asked.faults.split(",")
    if unknown := {*asked.commands} - {*COMMANDS} | {*asked.faults} - {*FAULTS}:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join([*COMMANDS, *FAULTS])}")
    return asked


def _run(asked: argparse.Namespace) -> None:
    """Run the cases of this part."""
    end = time.monotonic() + 60 * asked.minutes
    memory = Path("/dev/shm")  # a disk is not what is tested
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=memory if memory.is_dir() else None))
    commit = _git("rev-parse", "--short=10", "HEAD")
    try:
        with open_bench(folder) as bench:
            checker = Checker(bench)
            calls = _calls(asked, checker)
            done = _done(read_lines(asked.out), calls, commit)
            for command, fault, at in _cases(asked, calls):
                if (command, fault, at) in done:
                    continue
                if time.monotonic() > end:
                    break
                line = {**_case(checker, (command, fault, at)), "commit": commit}
                line["calls"] = calls[command, kinds_of(fault)]
                with asked.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    finally:
        shutil.rmtree(folder)


def _calls(asked: argparse.Namespace, checker: Checker) -> Calls:
    """Count the calls of each command that a fault can happen to."""
    calls: Calls = {}
    for command in asked.commands:
        for fault in asked.faults:
            kinds = kinds_of(fault)
            if (command, kinds) not in calls:
                calls[command, kinds] = _count(checker, command, kinds)
    return calls


def _done(lines: Sequence[Line], calls: Calls, commit: str) -> set[Case]:
    """Return the cases that need not run again, whichever commit they were run at.

    Those do whose command makes another number of calls since, and what was lost at another commit.
    """
    return {
        (line["command"], line["fault"], line["at"])
        for line in lines
        if line.get("calls") == calls.get((line["command"], kinds_of(line["fault"])))
        and (line["commit"] == commit or not line["lost"])
    }


def _cases(asked: argparse.Namespace, calls: Calls) -> Iterator[Case]:
    """Yield the cases of this part, in an order that is drawn once."""
    found = [
        (command, fault, at)
        for command in asked.commands
        for fault in asked.faults
        for at in range(1, calls[command, kinds_of(fault)] + 1, asked.every)
    ]
    random.Random(0).shuffle(found)
    number, count = map(int, (asked.part or "0/1").split("/"))
    yield from found[number::count]


def _count(checker: Checker, command: str, kinds: Any) -> int:
    checker.calm(command)
    injector: Injector = checker.bench.injector(command)
    found = injector.run(checker.bench.begin(command), kinds=kinds)
    assert found.code == 0, found
    return found.calls


def _case(checker: Checker, case: Case) -> dict[str, Any]:
    """Run a case; return its line."""
    command, fault, at = case
    started = time.monotonic()
    found, lost = checker.survives(command, fault, at)
    kind, _, path = found.hit.partition(" ")
    return {
        "command": command,
        "fault": fault,
        "at": at,
        "kind": kind,
        "file": path.removeprefix(f"{checker.bench.world}/"),
        "in_child": found.in_child,
        "code": found.code,
        "lost": lost,
        **({"stderr": found.stderr} if lost else {}),
        "s": round(time.monotonic() - started, 2),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    run_until_stopped(main)
