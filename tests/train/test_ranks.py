"""Two processes that learn together are one that learns alone from both their clips."""

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError, InputError, UsageError
from avpipe.train.loop import train
from avpipe.train.recipe import Recipe, load_recipe, recipe_values
from avpipe.train.runs.checkpoint import latest_checkpoint, load_weights
from avpipe.train.schedule import Plan
from avpipe.train.start import Notices, batch_size_of
from cache_factory import add_inputs, make_cache
from rank_program import gradients
from warm import Processes, Warm

pytestmark = pytest.mark.usefixtures("one_thread")
PROGRAM = "import rank_program\nrank_program.run()"
ALONE = [
    "width=16", "embed_dim=12", "image_init=scratch", "batch_norm=frozen", "precision=fp32",
    "visual_dropout=0", "audio_dropout=0",
]  # fmt: skip
SMALL = [*ALONE, "image_size=40", "image_resize=48", "audio_pool=8", "batch_size=8", "epochs=3"]


Task = dict[str, Any]
Start = Callable[[Task], Processes]


@pytest.fixture(scope="module")
def start(warm: Warm) -> Start:
    """Start two processes as torchrun does."""

    def run(task: Task) -> Processes:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks = [{**shared, "RANK": str(rank)} for rank in range(2)]
        return warm.start(PROGRAM, [json.dumps(task)], environments=ranks)

    return run


@pytest.fixture(scope="module")
def run(start: Start) -> Callable[[Task], None]:
    """Let two processes do a task."""

    def finish(task: Task) -> None:
        assert start(task).wait() == [0, 0]

    return finish


RECIPES = {
    "slavc": load_recipe("slavc", [*ALONE, "momentum=0.9"]),
    "ez-vsl": load_recipe("ez-vsl", [*ALONE, "hints=both", "weights.audio_hint=10"]),
    "nine": load_recipe(
        "multi-positive", [*ALONE, "hints=both", "weights.visual_hint=100", "momentum=0.5"]
    ),
    "lvs": load_recipe("lvs", ALONE),
    "silence": load_recipe("silence", [*ALONE, "objective.noises=2"]),
    "spm-audio": load_recipe("spm-audio", ALONE),
}


@pytest.fixture(scope="module")
def halves(run: Callable[[Task], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes find of half a batch each."""
    out = tmp_path_factory.mktemp("halves")
    recipes = {name: recipe_values(recipe) for name, recipe in RECIPES.items()}
    run({"recipes": recipes, "out": str(out)})
    return out


@pytest.mark.parametrize("name", list(RECIPES))
def test_losses_and_gradients_are_those_of_the_doubled_batch(name: str, halves: Path) -> None:
    expected = gradients(RECIPES[name])
    for rank in range(2):
        found = torch.load(halves / f"{name}{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys() and "loss" in found and len(found) > 30
        for key, value in expected.items():
            scale = max(1.0, value.abs().max().item())
            torch.testing.assert_close(found[key], value, atol=1e-5 * scale, rtol=0, msg=key)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("cache"), 25)
    add_inputs(cache)
    return cache


TRAINED = load_recipe(
    "multi-positive", [*SMALL, "num_neighbors=3", "hints=both", "batch_norm=batch", "ema=0.5"]
)


def task(cache: Cache, out: Path, every: float, recipe: Recipe = TRAINED) -> dict[str, Any]:
    out.mkdir()
    return {
        "recipe": recipe_values(recipe), "out": str(out), "cache": str(cache.path),
        "every": every,
    }  # fmt: skip


def trained_weights(out: Path) -> dict[str, torch.Tensor]:
    found = latest_checkpoint(out / "run")
    assert found
    return load_weights(found[0])


@pytest.fixture(scope="module")
def whole(
    cache: Cache, run: Callable[[Task], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    run(task(cache, out, 1e9))
    return out


def test_one_of_two_writes_and_speaks(whole: Path) -> None:
    leader, other = (json.loads((whole / f"{rank}.json").read_text()) for rank in range(2))
    assert leader["steps"] == other["steps"] == 9  # 12 clips each, 4 at a time
    assert leader["told"] and not other["told"]
    lines = [json.loads(line) for line in (whole / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert json.loads((whole / "run/run.json").read_text())["num_ranks"] == 2


@pytest.mark.faults
def test_two_killed_and_resumed_are_uninterrupted(
    cache: Cache, whole: Path, tmp_path: Path, start: Start, run: Callable[[Task], None]
) -> None:
    given = task(cache, tmp_path / "out", 0)
    processes = start(given)
    deadline = time.monotonic() + 540
    while not (tmp_path / "out/run/checkpoints/00000003").exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    processes.send(signal.SIGTERM)
    assert set(processes.wait()) <= {-signal.SIGTERM, 0}
    run(given)
    ours, theirs = trained_weights(tmp_path / "out"), trained_weights(whole)
    for name, value in ours.items():
        if "running" not in name:  # every process has norms of its own; the leader's are saved
            torch.testing.assert_close(value, theirs[name], atol=1e-6, rtol=0)


def test_another_number_of_processes_is_another_run(cache: Cache, whole: Path) -> None:
    with pytest.raises(CacheCorruptError, match="num_ranks = 2, this one has 1"):
        train(cache, TRAINED, whole / "run", device="cpu")


def test_shares_are_disjoint_and_whole() -> None:
    plans = [Plan(Recipe(epochs=2), 0, 25, 8, rank, 2) for rank in range(2)]
    assert {plan.num_steps for plan in plans} == {6}
    shares = [set(plan.share) for plan in plans]
    assert shares[0] | shares[1] == set(range(25)) and not shares[0] & shares[1]
    for plan in plans:
        picks = list(plan.picks(0))
        assert [len(pick) for pick in picks] == [4] * 6
        assert all(max(pick) < len(plan.share) for pick in picks)
    assert plans[0].rng(3).random() != plans[1].rng(3).random()


def test_batches_that_cannot_be_shared_are_refused() -> None:
    notices = Notices(None)
    assert batch_size_of(Recipe(batch_size=8), 100, 2, notices) == 8
    assert batch_size_of(Recipe(batch_size=8), 7, 2, notices) == 6 and len(notices) == 1
    with pytest.raises(UsageError, match="batch_size = 9 cannot be shared by 2"):
        batch_size_of(Recipe(batch_size=9), 100, 2, notices)
    with pytest.raises(InputError, match="at least 4 clips"):
        batch_size_of(Recipe(batch_size=8), 3, 2, notices)
