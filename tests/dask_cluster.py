"""A Dask cluster of this machine: a scheduler and its workers, processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client
from processes import descendants, kill

TESTS = Path(__file__).parent


@contextmanager
def dask_cluster(folder: Path, *, workers: int = 2, threads: int = 2) -> Iterator[Cluster]:
    """Start a cluster that takes a task for deadly at the first killed worker; end it."""
    told = folder / "scheduler.json"

    def start(module: str, *words: str) -> subprocess.Popen[bytes]:
        with (folder / f"{module}.log").open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{module}", "--no-dashboard"]
            return subprocess.Popen(
                [*command, *words],
                env=environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    scheduler = start("scheduler", "--scheduler-file", str(told), "--host", "127.0.0.1", "--port=0")
    nannies = start(
        "worker", "--scheduler-file", str(told), "--nworkers", str(workers),
        "--nthreads", str(threads), "--local-directory", str(folder),
    )  # fmt: skip
    try:
        while (address := _address(told)) is None:
            assert scheduler.poll() is None, (folder / "scheduler.log").read_text()
            time.sleep(0.02)
        with Client(address, timeout=120, set_as_default=False) as client:
            if workers:
                client.wait_for_workers(workers, timeout=120)
        yield Cluster(address, nannies.pid)
    finally:
        for process in (nannies, scheduler):
            kill([*descendants(process.pid), process.pid])
            process.wait()


def environment() -> dict[str, str]:
    """Return what workers run with: tasks of tests are importable there."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning",
    }


def _address(told: Path) -> str | None:
    """Return what the scheduler wrote, once it is there and whole: it writes in place."""
    try:
        address: str = json.loads(told.read_text())["address"]
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return address


class Cluster:
    """A running cluster.

    Attributes:
        address: Of the scheduler.
    """

    def __init__(self, address: str, pid: int) -> None:
        """Remember it."""
        self.address, self._pid = address, pid

    def workers(self) -> list[int]:
        """Return the worker processes, without those that watch and track them."""
        found = []
        for pid in descendants(self._pid):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"spawn_main" in line:
                found.append(pid)
        return found
