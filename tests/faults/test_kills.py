"""SIGKILL at any moment: nothing published is lost, the same command finishes the same bytes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from avpipe.cache.state import shard_numbers
from avpipe.cache.verify import verify
from avpipe.stages.synth.run import synth
from fake_clips import file_bytes
from processes import descendants, drafts, is_decoder, is_worker, kill, parents
from warm import Processes, Warm

pytestmark = pytest.mark.faults

FAST = ("--shard-clips", "4", "--jobs", "2")


@dataclass(frozen=True)
class World:
    """Synthetic videos of `num_shards` shards, how often to kill, an undisturbed run's files."""

    videos: Path
    num_shards: int
    num_kills: int
    expected: dict[str, bytes]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((10, 4), id="10-shards"),
        pytest.param((100, 30), id="100-shards", marks=pytest.mark.slow),
    ],
)
def world(
    request: pytest.FixtureRequest, stored: Warm, tmp_path_factory: pytest.TempPathFactory
) -> World:
    num_shards, num_kills = request.param
    folder = tmp_path_factory.mktemp("world")
    made = sorted(synth(folder / "world", clips=4, classes=4, seed=1, jobs=1).videos.iterdir())
    videos = folder / "videos"
    videos.mkdir()
    for number in range(4 * num_shards):
        os.link(made[number % len(made)], videos / f"{number:03d}.mp4")
    cache = folder / "undisturbed"
    finish(stored, videos, cache)
    return World(videos, num_shards, num_kills, file_bytes(cache))


def extract(stored: Warm, world: World, cache: Path) -> Processes:
    log = cache.parent / "log"
    return stored.command("extract", world.videos, "--cache", cache, *FAST, log=log)


def finish(stored: Warm, videos: Path, cache: Path) -> None:
    log = cache.parent / "log"
    run = stored.command("extract", videos, "--cache", cache, *FAST, log=log)
    assert run.wait() == [0], log.read_text()


def num_done(cache: Path) -> int:
    return len(shard_numbers(cache, "extract"))


def test_driver_killed_again_and_again(world: World, tmp_path: Path, stored: Warm) -> None:
    cache, rng = tmp_path / "cache", random.Random(0)
    kills, while_writing = 0, 0
    while kills < world.num_kills:
        before = num_done(cache)
        driver = stored.command(
            "extract", world.videos, "--cache", cache, *FAST, log=tmp_path / "log"
        )
        want_draft = kills % 2 == 0
        delay_s = rng.uniform(0, 0.05)
        while driver.running() and num_done(cache) == before:
            time.sleep(0.001)
        give_up = time.monotonic() + (1.0 if want_draft else delay_s)
        while driver.running() and time.monotonic() < give_up:
            if want_draft and any(True for _ in drafts(cache)):
                break
        writing = any(True for _ in drafts(cache))
        if not driver.running():
            pytest.fail("the run ended before it could be killed: too few shards for the kills")
        driver.send(signal.SIGKILL)
        driver.wait()
        kills += 1
        while_writing += writing
        assert num_done(cache) > before
        assert verify(cache).damaged == {}
    assert while_writing >= min(5, world.num_kills // 3)
    finish(stored, world.videos, cache)
    assert file_bytes(cache) == world.expected


def test_killed_while_starting_and_planning(world: World, tmp_path: Path, stored: Warm) -> None:
    cache, rng = tmp_path / "cache", random.Random(1)
    for _ in range(6):
        driver = stored.command(
            "extract", world.videos, "--cache", cache, *FAST, log=tmp_path / "log"
        )
        time.sleep(rng.uniform(0.05, 0.6))
        driver.send(signal.SIGKILL)
        driver.wait()
        if (cache / "manifest").is_dir():
            assert verify(cache).damaged == {}
    finish(stored, world.videos, cache)
    assert file_bytes(cache) == world.expected


@pytest.mark.parametrize("victims", [is_worker, is_decoder])
def test_workers_and_decoders_killed(
    world: World, tmp_path: Path, stored: Warm, victims: Callable[[int], bool]
) -> None:
    cache = tmp_path / "cache"
    driver = extract(stored, world, cache)
    hit: set[int] = set()
    while driver.running():
        if len(hit) < 2 and num_done(cache) > len(hit):
            # one hit for each parent: a clip whose second try is killed too has failed, by contract
            table = parents()
            fresh = [
                p for p in descendants(driver.pids[0]) if victims(p) and table.get(p) not in hit
            ]
            if kill(fresh[:1]):
                hit.add(table[fresh[0]] if victims is is_decoder else fresh[0])
        time.sleep(0.02)
    assert len(hit) == 2
    assert driver.wait() == [0], (tmp_path / "log").read_text()
    assert file_bytes(cache) == world.expected


@pytest.mark.parametrize("during", ["start of workers", "decoding"])
def test_nothing_outlives_a_killed_driver(
    world: World, tmp_path: Path, stored: Warm, during: str
) -> None:
    cache = tmp_path / "cache"
    driver = extract(stored, world, cache)
    wanted = is_decoder if during == "decoding" else is_worker
    while not any(wanted(pid) for pid in descendants(driver.pids[0])):
        time.sleep(0.001)
    family = descendants(driver.pids[0])
    driver.send(signal.SIGKILL)
    driver.wait()
    deadline = time.monotonic() + 10
    while any(is_worker(pid) or is_decoder(pid) for pid in family):
        assert time.monotonic() < deadline, "workers or decoders are still running"
        time.sleep(0.1)
