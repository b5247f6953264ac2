"""SIGTERM and SIGINT end a command that hears nothing: in a library, or waiting for a thread."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_factory import write_world
from fake_clips import make_cache
from warm import Processes, Warm

COMMANDS = {
    "evaluate": "evaluate run --annotations world",
    "embed-teachers": "embed-teachers --audio none --weights random",
    "knn": "knn --audio none --weights random",
    "localize": "localize --ids ids.txt --run run",
}
"""Each asks how many threads to take before it runs a network: there it hangs."""
LOG = Path("log")
PROGRAM = """
import ctypes, os, signal, sys, threading, time
from avpipe import stopping
from avpipe.__main__ import main
from avpipe.pipeline.networks import threads

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit none
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(256)  # all zero: one that nobody holds

def hang():
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # for ever, and no handler of Python's gets to run

def hang_here(*_):
    for number in (signal.SIGTERM, signal.SIGINT):  # one that comes before the lock changes nothing
        signal.signal(number, lambda *_: None)
    os.write(1, b"hangs\\n")
    hang()

def hang_beside(*_):
    threading.Thread(target=hang).start()
    os.write(1, b"hangs\\n")
    time.sleep(1e6)

where, grace_s = sys.argv[1:3]
del sys.argv[1:3]
threads.network_threads = globals()[f"hang_{where}"]
stopping.GRACE_S, stopping._ONE_S = float(grace_s), 0.0
main()
"""
LOST = (
    "avpipe: error: interrupted; what was running did not end and is lost, the same command "
    "resumes from what is saved\n"
)
STOPPED = "avpipe: error: interrupted; the same command resumes\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_cache(tmp_path / "avcache", ["a", "b"])
    (tmp_path / "ids.txt").write_text("a\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    (tmp_path / "world").mkdir()
    write_world(tmp_path / "world")
    return tmp_path


@pytest.fixture
def hanging(warm: Warm, here: Path) -> Callable[[str, str, float], Processes]:
    """Start a command in a world of its own; wait until it hangs."""

    def run(where: str, command: str, grace_s: float) -> Processes:
        words = COMMANDS[command].split()
        process = warm.start(PROGRAM, [where, str(grace_s), *words], log=LOG)
        wait_for("hangs\n", process)
        return process

    return run


def wait_for(said: str, process: Processes) -> None:
    while not (LOG.exists() and LOG.read_text().endswith(said)):
        assert process.running()
        time.sleep(0.002)


def send_until_it_ends(process: Processes, number: signal.Signals) -> None:
    """Send it a signal again and again: one that comes too soon is the first again."""
    while process.running():
        process.send(number)
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("command", "number", "again"),
    [
        ("evaluate", signal.SIGTERM, False),
        ("embed-teachers", signal.SIGINT, False),
        ("knn", signal.SIGINT, True),
        ("localize", signal.SIGTERM, True),
    ],
)
def test_stuck_inside_a_library(
    command: str, number: signal.Signals, again: bool, hanging: Callable[..., Processes]
) -> None:
    process = hanging("here", command, 1e9 if again else 0.0)
    process.send(number)
    if again:
        send_until_it_ends(process, number)
    assert process.wait() == [128 + number]
    assert LOG.read_text() == f"hangs\n{LOST}"


def test_stuck_while_a_thread_is_waited_for(hanging: Callable[..., Processes]) -> None:
    process = hanging("beside", "knn", 1e9)
    process.send(signal.SIGTERM)
    wait_for(STOPPED, process)
    send_until_it_ends(process, signal.SIGINT)
    assert process.wait() in ([-signal.SIGINT], [128 + signal.SIGINT])  # the same to a shell
    assert LOG.read_text() in (f"hangs\n{STOPPED}", f"hangs\n{STOPPED}{LOST}")
