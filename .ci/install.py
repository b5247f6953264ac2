"""Run pip, and say in a line now and then what it does: its own lines are hundreds, or none.

Usage: python .ci/install.py FOLDER ARGUMENT ...   (FOLDER grows by what is installed)
"""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

EVERY_S = 10.0
PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
_TAKEN = re.compile(r"Collecting (\S+)")
_FETCHED = re.compile(r"(?:Downloading|Using cached) (\S+)(?: \(([\d.]+ [kMG]?B)\))?")


class Said:
    """What pip has said so far.

    Attributes:
        phase: What it does, in a word.
        now: The same with what it is at.
        lines: All its lines.
    """

    def __init__(self) -> None:
        """Begin."""
        self.phase = self.now = "starting"
        self.lines: list[str] = []
        self._number = 0

    def add(self, line: str) -> None:
        """Take a line; a phase is known by its first words."""
        self.lines.append(line)
        text = line.strip()
        if found := _TAKEN.match(text):
            self._number += 1
            self.phase, self.now = "fetching", f"fetching, package {self._number}: {found[1]}"
        elif found := _FETCHED.match(text):
            name = found[1].rpartition("/")[2].partition("-")[0]
            size = f" ({found[2]})" if found[2] else ""
            self.phase, self.now = "fetching", f"fetching, package {self._number}: {name}{size}"
        elif text.startswith("Installing collected packages"):
            self.phase = "installing"
            self.now = f"installing {text.count(',') + 1} packages"


def size_gb(folder: Path) -> float:
    """Return what the files of a folder take, in GB."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).lstat().st_size
            except OSError:  # renamed meanwhile
                continue
    return total / 1e9


def lines_of(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """Yield a process's lines, and None where none came for a while."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while True:
        try:
            line = lines.get(timeout=EVERY_S)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def main(folder: Path, arguments: list[str]) -> int:
    """Install; return pip's exit code, after its last lines if it failed."""
    command = [*PIP, "--progress-bar", "off", "--no-input", *arguments]
    said, started = Said(), time.monotonic()
    due, shown = started, ""

    def tell(what: str) -> None:
        print(
            f"  {time.monotonic() - started:4.0f} s, {size_gb(folder):.1f} GB: {what}", flush=True
        )

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in lines_of(process):
            if line is not None:
                said.add(line)
            if time.monotonic() >= due or said.phase != shown:
                tell(said.now)
                due, shown = time.monotonic() + EVERY_S, said.phase
    if process.returncode:
        sys.stdout.writelines(said.lines[-30:])
    else:
        tell("done")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
