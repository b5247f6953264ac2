"""Ctrl-C in a terminal reaches every process of the run: one line, one exit code, nobody left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from avpipe.stages.synth.run import synth
from processes import descendants, is_decoder, is_worker, start

pytestmark = pytest.mark.faults

PROGRAM = (
    "import signal, sys\n"
    # tests run in the background inherit a SIGINT that is ignored
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from avpipe.pipeline.main import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
LINE = "avpipe: error: interrupted; the same command resumes\n"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    made = synth(folder / "world", clips=8, classes=4, seed=1).videos
    for path in sorted(made.iterdir()):
        for copy in range(20):
            shutil.copy(path, path.with_stem(f"{path.stem}-{copy}"))
    return made


@pytest.mark.parametrize("delay_s", [0.0, 0.2])
@pytest.mark.parametrize("seen", [is_worker, is_decoder])
def test_interrupted_group_says_one_line(
    videos: Path, tmp_path: Path, seen: Callable[[int], bool], delay_s: float
) -> None:
    command = [sys.executable, "-c", PROGRAM, "extract", str(videos), "--jobs", "2"]
    run = subprocess.Popen(
        [*command, "--cache", str(tmp_path / "cache"), "--shard-clips", "4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(run.pid, seen)
    time.sleep(delay_s)
    family = descendants(run.pid)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=540)
    assert (run.returncode, out, err) == (130, "", LINE)
    assert_all_end(family)


def test_semaphores_of_a_stopped_run_are_removed_in_silence() -> None:
    program = (
        "from avpipe.stages.workers.pool import run_in_workers\n"
        "from avpipe.stages.workers import Workers\n"
        "run_in_workers([1], abs, print, workers=Workers(2))\n"
        "from joblib.externals.loky import get_reusable_executor\n"
        "from joblib.externals.loky.backend import resource_tracker\n"
        "get_reusable_executor(reuse=True).shutdown()\n"
        "resource_tracker.register('/loky-left-behind', 'semlock')\n"
        "resource_tracker._resource_tracker._stop()\n"  # and wait for what it says
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "1\n", "")


def test_a_run_that_stops_while_tasks_are_handed_out_says_nothing() -> None:
    program = (
        "from joblib.externals.loky.process_executor import _ExecutorManagerThread as Manager\n"
        "import time\n"
        "hand_out = Manager.add_call_item_to_queue\n"
        "def late(manager):\n"
        "    time.sleep(0.05)\n"
        "    hand_out(manager)\n"
        "Manager.add_call_item_to_queue = late\n"
        "from avpipe.stages.workers.pool import run_in_workers\n"
        "from avpipe.stages.workers import Workers\n"
        "def tasks():\n"
        "    yield from range(3)\n"
        "    raise KeyboardInterrupt\n"
        "try:\n"
        "    run_in_workers(tasks(), abs, print, workers=Workers(2))\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped')\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "stopped\n", "")


def test_nothing_outlives_a_killed_synth(tmp_path: Path) -> None:
    words = ("synth", tmp_path / "world", "--clips", "200", "--classes", "4", "--jobs", "2")
    driver = start(*words, log=tmp_path / "log")
    wait_for(driver.pid, is_worker)
    while not any((tmp_path / "world" / "videos").glob("*.mp4")):
        time.sleep(0.01)
    family = descendants(driver.pid)
    driver.kill()
    driver.wait()
    assert_all_end(family)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_full_disk_leaves_no_temporary_file_of_synth(tmp_path: Path, jobs: str) -> None:
    world = tmp_path / "world"
    words = [sys.executable, "-m", "avpipe", "synth", str(world), "--clips", "16", "--classes", "4"]
    done = subprocess.run(  # no file may grow above 24 KiB: the clips are larger
        ["bash", "-c", 'ulimit -f 24; exec "$@"', "bash", *words, "--jobs", jobs],
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert (done.returncode, done.stderr.count("\n")) == (7, 1), done.stderr
    assert (world / "world.json").exists()
    assert [path for path in world.rglob("*") if path.name.startswith(".")] == []


def wait_for(pid: int, seen: Callable[[int], bool]) -> None:
    """Wait until a process below `pid` is what `seen` tells."""
    deadline = time.monotonic() + 540
    while not any(seen(child) for child in descendants(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def assert_all_end(family: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(is_worker(pid) or is_decoder(pid) for pid in family):
        assert time.monotonic() < deadline, "workers or decoders are still running"
        time.sleep(0.1)
