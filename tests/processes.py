"""Looking at and killing the processes of a run, through /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from avpipe.pipeline.extract import workers


def start(*arguments: str | Path, log: Path) -> subprocess.Popen[bytes]:
    """Start `avpipe` with those arguments, as a user would."""
    with log.open("ab") as file:
        command = [sys.executable, "-m", "avpipe", *map(str, arguments)]
        return subprocess.Popen(command, stdout=file, stderr=file)


def parents() -> dict[int, int]:
    """Return every process's parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found[int(entry.name)] = int(fields[1])
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, grandchildren included."""
    table = parents()
    found, frontier = [], [pid]
    while frontier:
        frontier = [child for child, parent in table.items() if parent in frontier]
        found += frontier
    return found


def is_decoder(pid: int) -> bool:
    """Whether the process is a decoder child."""
    with suppress(OSError):
        return b"avpipe.stages.workers.decoder" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def is_worker(pid: int) -> bool:
    """Whether the process is one of joblib's workers."""
    with suppress(OSError):
        return b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def kill(pids: Sequence[int]) -> int:
    """SIGKILL those that are still there; return how many were."""
    hit = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            hit += 1
    return hit


def drafts(cache: Path) -> Iterator[Path]:
    """Yield the temporary shard files of a cache."""
    for stage in ("audio", "extract"):
        yield from (cache / stage).glob(".*.h5.*")


def close_decoders() -> None:
    """End the decoder child that `extract --jobs 1` keeps in this very process."""
    workers.close_decoder_child()
