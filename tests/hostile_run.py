"""Runs commands on hostile input in a process that may use little time, memory and disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from warm import Warm

MORE_BYTES = 1 << 30
"""Address space that commands may ask for, beyond what they have when they start."""
CPU_S = 60
"""For all commands of a process; a tenth of a second each is usual."""
WALL_S = 300
FILE_BYTES = 64 << 20
"""No file may become larger."""

_PROGRAM = f"""
import json, os, resource, signal, sys
from avpipe.pipeline.main import main

with open("/proc/self/statm") as file:
    has = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + {MORE_BYTES}, has + {MORE_BYTES}))
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_S}, {CPU_S}))
resource.setrlimit(resource.RLIMIT_FSIZE, ({FILE_BYTES}, {FILE_BYTES}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.alarm({WALL_S})
with open(sys.argv[1]) as file:
    asked = json.load(file)
for number, (folder, words) in enumerate(asked):
    log = os.open(f"{{sys.argv[2]}}/{{number}}.log", os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    with open(f"{{sys.argv[2]}}/{{number}}.code", "w") as file:
        file.write(str(code))
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code; None where it took its process down.
        text: All that it printed.
    """

    code: int | None
    text: str

    @property
    def error(self) -> str:
        """The line of its error; AssertionError where there is not exactly one, the last."""
        lines = [line for line in self.text.splitlines() if line.startswith("avpipe: error: ")]
        assert len(lines) == 1 and self.text.splitlines()[-1] == lines[0], self.text[-2000:]
        assert "internal error" not in lines[0] and len(lines[0]) < 2100, lines[0]
        return lines[0]


def run_confined(
    server: Warm, commands: Mapping[str, tuple[Path, Sequence[str]]], logs: Path
) -> dict[str, Ended]:
    """Run one command of `avpipe` after the other, in one process: see `_PROGRAM` for its limits.

    Args:
        server: Has the modules loaded that the commands need.
        commands: By name: the folder where they run, and the words of the command line.
        logs: An empty folder for what they print.
    """
    logs.mkdir(parents=True)
    asked = logs / "asked.json"
    asked.write_text(
        json.dumps([[str(folder), list(words)] for folder, words in commands.values()])
    )
    server.start(_PROGRAM, [asked, logs], log=logs / "lost.log").wait()
    found = {}
    for number, name in enumerate(commands):
        log, code = logs / f"{number}.log", logs / f"{number}.code"
        text = log.read_text("utf-8", "replace") if log.exists() else ""
        found[name] = Ended(int(code.read_text()) if code.exists() else None, text)
    shutil.rmtree(logs)
    return found


def below(folder: Path) -> Mapping[str, bytes]:
    """Return the names of all that is below a folder, with the content of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        found[path.relative_to(folder).as_posix()] = path.read_bytes() if is_file else b""
    return found


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """See that nothing below a folder changes.

    Raises:
        AssertionError: It did.
    """
    before = below(folder)
    yield
    assert below(folder) == before
