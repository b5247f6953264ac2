"""Threads: what the machine grants, which number is taken, and that a run's steps stay the same."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avpipe import machine
from avpipe.cache.store import Cache
from avpipe.errors import UsageError
from avpipe.machine import Trial, free_cores, granted_cores, parse_threads, try_threads
from avpipe.pipeline.main import main
from avpipe.pipeline.networks.threads import network_threads, search_threads, try_network
from avpipe.train import loop, threads
from avpipe.train.data.sources import reading_threads
from avpipe.train.learner import Learner
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import latest_checkpoint, load_weights
from avpipe.train.runs.record import read_record
from avpipe.train.threads import Pace
from cache_factory import make_cache
from evaluation_factory import change_page

TINY = [
    "image_size=40", "image_resize=48", "width=16", "embed_dim=16", "batch_size=8", "epochs=2",
    "precision=fp32", "audio_pool=8", "visual_dropout=0.5", "ema=0.9", "momentum=0.5",
]  # fmt: skip
RECIPE = load_recipe("compact", TINY)
NUM_STEPS = 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 24)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch say that it has two threads, and the machine grant them.

    It computes with one whatever it is told: two crawl on a machine as busy as one that runs tests.
    """
    number = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda given: number.__setitem__(0, given))
    monkeypatch.setattr(threads, "granted_cores", lambda: 2)


class Clock:
    """A clock that work moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(machine.time, "perf_counter", lambda: self.now)


def trial_of(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int, int], float], most: int = 4
) -> tuple[Trial, list[int]]:
    """Try steps that take `seconds(threads, step)`; return what was found and who was asked."""
    clock, asked = Clock(monkeypatch), []

    def step() -> None:
        clock.now += seconds(asked[-1], len(asked))

    return try_threads(step, most, asked.append), asked


# What is granted


@pytest.mark.parametrize(("quota", "granted"), [(None, 8), (64.0, 8), (2.5, 2), (1.0, 1), (0.2, 1)])
def test_a_quota_of_time_grants_fewer_threads(
    quota: float | None, granted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setattr(machine, "core_quota", lambda: quota)
    assert granted_cores() == granted


@pytest.mark.parametrize(("quota", "reading"), [(None, 8), (2.5, 2), (0.2, 1)])
def test_as_many_threads_read_as_cores_are_granted(
    quota: float | None, reading: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(machine, "core_quota", lambda: quota)
    assert reading_threads(None) == reading


def test_threads_are_auto_or_a_number() -> None:
    assert parse_threads("auto") is None
    assert parse_threads("3") == 3
    for text in ("0", "-1", "two", "1.5", "", "1025", "²"):
        with pytest.raises(UsageError, match=r"should be auto, or a number from 1 to 1024"):
            parse_threads(text)


def test_a_mistyped_number_is_told_by_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("train", "evaluate run", "localize x.mp4", "embed-teachers", "knn", "demo out"):
        assert main([*words.split(), "--threads", "many"]) == 2
        assert "--threads many: should be auto" in capsys.readouterr().err


def test_free_cores_are_at_most_those_asked_for() -> None:
    assert 0 < free_cores(1, for_s=0.05) <= 1.2


# Which number is taken


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({1: 1.0, 4: 0.5}, 4),
        ({1: 1.0, 4: 2.0}, 1),
        ({1: 1.0, 4: 0.97}, 1),  # no gain worth the risk
        ({1: 0.25, 4: 2.0}, 1),
    ],
)
def test_the_faster_number_is_taken(
    seconds: dict[int, float], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = trial_of(monkeypatch, lambda number, step: seconds[number])
    assert found.threads == taken
    assert found.seconds == pytest.approx(seconds)


def test_first_steps_and_single_slow_ones_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(number: int, step: int) -> float:
        return 2.0 if step in (1, 2, 5) else 1.0 / number

    found, asked = trial_of(monkeypatch, seconds, most=2)
    assert found.threads == 2
    assert asked == [2, 1] * 4


def test_what_is_clear_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = trial_of(monkeypatch, lambda number, step: 3.0 if number == 4 else 0.3)
    assert asked == [4, 1] * 3  # the first pair only sets up
    assert found.text() == "1 thread: 3.3 steps/s, 0.33 with 4"


def test_steps_of_many_seconds_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = trial_of(monkeypatch, lambda number, step: 20.0 if number == 4 else 2.0)
    assert (found.threads, asked) == (1, [4, 1])


def test_one_granted_core_tries_nothing() -> None:
    found = try_threads(lambda: pytest.fail("a step"), 1, lambda number: pytest.fail("threads"))
    assert found == Trial(1, {})


def test_a_small_network_is_tried_with_both() -> None:
    before = torch.get_num_threads()
    found = try_network(2)
    torch.set_num_threads(before)
    assert found.threads in (1, 2)
    assert set(found.seconds) == {1, 2} and min(found.seconds.values()) > 0


# Commands that run networks


def test_a_command_has_its_threads_and_gives_them_back(two_threads: None) -> None:
    import faiss

    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    with network_threads("3", "cpu"), search_threads("3"):
        assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (3, 3)
    assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == before


@pytest.mark.parametrize(("faster", "told"), [(1, 1), (2, 0)])
def test_a_command_tells_when_it_takes_fewer_than_all(
    faster: int, told: int, two_threads: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = Trial(faster, {1: 0.1, 2: 0.2 / faster})
    monkeypatch.setattr("avpipe.pipeline.networks.threads.granted_cores", lambda: 2)
    monkeypatch.setattr("avpipe.pipeline.networks.threads.try_network", lambda most: found)
    with network_threads("auto", "cpu"):
        assert torch.get_num_threads() == faster
    assert capsys.readouterr().err.count("networks run with 1 thread: 10 passes/s") == told


def test_nothing_is_tried_where_it_would_decide_nothing(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "avpipe.pipeline.networks.threads.try_network", lambda most: pytest.fail("tried")
    )
    with network_threads("auto", "cuda"):
        pass
    monkeypatch.setattr("avpipe.pipeline.networks.threads.granted_cores", lambda: 1)
    with network_threads("auto", "cpu"):
        assert torch.get_num_threads() == 1


# Training


def losses_of(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_run(run: Path, other: Path) -> bool:
    """Whether two runs have the same losses and weights, to the bit."""
    weights = []
    for folder in (run, other):
        found = latest_checkpoint(folder)
        assert found
        weights.append(load_weights(found[0]))
    ours, theirs = weights
    equal = [torch.equal(value, theirs[name]) for name, value in ours.items()]
    return losses_of(run) == losses_of(other) and all(equal) and ours.keys() == theirs.keys()


@pytest.mark.parametrize("faster", [1, 2])
def test_trying_leaves_no_trace_in_the_run(
    faster: int, cache: Cache, two_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def trial(step: Callable[[], object], most: int, set_threads: Callable[[int], None]) -> Trial:
        for number in (most, 1):
            set_threads(number)
            step()
            tried.append(number)
        return Trial(faster, {1: 0.1, 2: 0.2})

    monkeypatch.setattr(threads, "try_threads", trial)
    said: list[str] = []
    train(cache, RECIPE, tmp_path / "auto", device="cpu", threads="auto", notify=said.append)
    assert tried == [2, 1]
    assert [line for line in said if line.startswith(f"trained with {faster} thread")]
    assert read_record(tmp_path / "auto").threads == faster
    assert torch.get_num_threads() == 2  # the caller's

    train(cache, RECIPE, tmp_path / "told", device="cpu", threads=faster)
    assert tried == [2, 1]
    assert read_record(tmp_path / "told").threads == faster
    assert len(losses_of(tmp_path / "told")) == NUM_STEPS
    assert same_run(tmp_path / "auto", tmp_path / "told")


class Killed(BaseException):
    """Ends training where a kill would."""


def train_until(cache: Cache, run: Path, step: int, **options: Any) -> list[tuple[int, int]]:
    """Train, killed in a step; return every step with the threads that it had."""
    had: list[tuple[int, int]] = []
    learn = Learner.learn

    def noted(self: Learner, at: int, batch: Any) -> Any:
        if at == step:
            raise Killed
        had.append((at, torch.get_num_threads()))
        return learn(self, at, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "learn", noted)
        try:
            train(cache, RECIPE, run, device="cpu", checkpoint_every_s=0, **options)
        except Killed:
            assert step < NUM_STEPS
    return had


def test_a_resumed_run_keeps_its_threads(
    cache: Cache, two_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_until(cache, tmp_path, 3, threads=1)
    monkeypatch.setattr(threads, "try_threads", lambda *given: pytest.fail("tried again"))
    assert train_until(cache, tmp_path, 4, threads="auto") == [(3, 1)]
    assert train_until(cache, tmp_path, 5) == [(4, 1)]
    said: list[str] = []
    assert train_until(cache, tmp_path, 6, threads=2, notify=said.append) == [(5, 2)]
    assert [line for line in said if line.startswith("2 threads from step 5 on, 1 until there")]
    assert read_record(tmp_path).threads == 2


def test_a_run_from_before_threads_were_recorded_is_not_tried(
    cache: Cache, two_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_until(cache, tmp_path, 3, threads=1)
    change_page(tmp_path, without="threads")
    monkeypatch.setattr(threads, "try_threads", lambda *given: pytest.fail("tried"))
    assert train_until(cache, tmp_path, 4, threads="auto") == [(3, 2)]


def test_one_thread_of_pytorch_is_all_there_is(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 would
    monkeypatch.setattr(threads, "try_threads", lambda *given: pytest.fail("tried"))
    assert train_until(cache, tmp_path, 1, threads="auto") == [(0, 1)]
    torch.set_num_threads(before)


# A pace that falls


def test_a_third_of_the_first_pace_is_told_once() -> None:
    told: list[str] = []
    pace = Pace(2, told.append)
    for seconds in [5.0, 5.0, *[0.2] * 20, 9.0, *[0.5] * 40]:
        pace.add(seconds)
    assert told == []
    for _ in range(40):
        pace.add(2.0)
    assert told == [
        "0.5 steps/s, 5 at first: other programs use the cores; stop it (Ctrl-C), and go on by "
        "the same command with --threads 1"
    ]


def test_one_thread_has_another_way_out() -> None:
    told: list[str] = []
    pace = Pace(1, told.append)
    for seconds in [0.1] * 20 + [1.0] * 20:
        pace.add(seconds)
    assert len(told) == 1 and "run the same command again when they have ended" in told[0]


def test_training_tells_of_its_pace(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([second for step in range(100) for second in (0.0, 0.1 if step < 20 else 1.0)])
    monkeypatch.setattr(loop, "step_clock", lambda: next(times))
    recipe = load_recipe("compact", [*TINY, "epochs=14"])
    said: list[str] = []
    train(cache, recipe, tmp_path, device="cpu", threads=1, notify=said.append)
    assert len([line for line in said if line.startswith("1 steps/s, 10 at first")]) == 1
    assert os.environ.get("OMP_NUM_THREADS", "1") == "1"  # of these tests
