import copy
import errno
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError, CacheUnwritableError, InputError, UsageError
from avpipe.train import load_run, losses
from avpipe.train.data.augment import Views, evaluation_views
from avpipe.train.data.batches import Batch, Pick, Stream
from avpipe.train.data.clips import ClipReader, square
from avpipe.train.data.columns import Inputs
from avpipe.train.data.feed import Timed
from avpipe.train.learner import build_student
from avpipe.train.loop import TrainResult, train
from avpipe.train.nets.model import Needs, build_model
from avpipe.train.nets.student import Student
from avpipe.train.objectives import Seen, load_objective
from avpipe.train.recipe import Recipe, load_recipe, objective_names
from avpipe.train.runs.checkpoint import latest_checkpoint, load_weights
from avpipe.train.runs.journal import LossJournal, NonFiniteLossError, TrainProgress
from avpipe.train.runs.metric_lines import last_loss, read_lines
from avpipe.train.runs.record import read_record
from avpipe.train.schedule import Plan
from avpipe.train.start import Notices, claimed
from cache_factory import add_inputs, make_cache
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from warm import Processes, Warm

TINY = [
    "image_size=40", "image_resize=48", "width=16", "embed_dim=16", "batch_size=8", "epochs=4",
    "warmup_steps=5", "precision=fp32", "audio_pool=8", "time_shift=true",
]  # fmt: skip
RECIPES = {
    "compact": load_recipe("compact", TINY),
    "slavc": load_recipe(
        "slavc",
        [*TINY, "image_init=scratch", "momentum=0.9", "visual_dropout=0.5", "audio_dropout=0.2"],
    ),
    "multi-positive": load_recipe(
        "multi-positive",
        [*TINY, "num_neighbors=3", "hints=both", "hint_align=roi", "momentum=0.5", "ema=0.9",
         "visual_dropout=0.2", "weights.visual_hint=10"],
    ),
}  # fmt: skip


class Killed(BaseException):
    """Ends training where a kill would."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("cache"), 24)
    add_inputs(cache)
    return cache


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    found = latest_checkpoint(run_dir)
    assert found
    return load_weights(found[0])


def metrics_of(run_dir: Path) -> list[dict[str, float]]:
    return read_lines(run_dir / "metrics.jsonl")


def assert_same_run(run: Path, other: Path) -> None:
    ours, theirs = weights_of(run), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-6, rtol=0)
    a, b = metrics_of(run), metrics_of(other)
    assert [line["step"] for line in a] == list(range(1, len(b) + 1))
    for line, other_line in zip(a, b, strict=True):
        assert line == pytest.approx(other_line, abs=1e-6)


@pytest.fixture(scope="module")
def whole(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Uninterrupted runs."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    for name, recipe in RECIPES.items():
        train(cache, recipe, folder / name, device="cpu")
    return {name: folder / name for name in RECIPES}


# One run


def test_a_run_is_recorded(cache: Cache, whole: dict[str, Path]) -> None:
    run = whole["compact"]
    record = json.loads((run / "run.json").read_text())
    assert record["schema"] == "avpipe.run/1"
    assert record["recipe"]["pooling"] == "lse" and record["seed"] == 0
    assert record["ids"] == cache.ids
    assert {"avpipe", "torch", "python"} <= record["versions"].keys()
    metrics = metrics_of(run)
    assert len(metrics) == 12
    assert metrics[-1]["epoch"] == 4 and metrics[-1]["lr"] == RECIPES["compact"].lr
    both = metrics[3]["image_to_audio"] + metrics[3]["audio_to_image"]
    assert metrics[3]["loss"] == pytest.approx(both, abs=1e-5)
    assert not [path for path in run.iterdir() if path.name.startswith(".run")]


def test_learning_lowers_the_loss(cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe("compact", [*TINY, "epochs=25", "lr=3e-3"])
    train(cache, recipe, tmp_path, device="cpu")
    found = [line["loss"] for line in metrics_of(tmp_path)]
    assert np.mean(found[-6:]) < 0.75 * np.mean(found[:6])


def test_both_data_modes_learn_the_same(
    cache: Cache, whole: dict[str, Path], tmp_path: Path
) -> None:
    train(cache, RECIPES["compact"], tmp_path, data="stream", device="cpu")
    assert_same_run(tmp_path, whole["compact"])


def test_another_seed_is_another_run(cache: Cache, whole: dict[str, Path], tmp_path: Path) -> None:
    train(cache, RECIPES["compact"], tmp_path, seed=1, device="cpu")
    assert metrics_of(tmp_path)[0]["loss"] != metrics_of(whole["compact"])[0]["loss"]


def test_the_callers_random_numbers_are_untouched(cache: Cache, tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(cache, RECIPES["slavc"], tmp_path, device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_progress_has_rate_and_time_left(cache: Cache, tmp_path: Path) -> None:
    seen: list[TrainProgress] = []
    train(cache, RECIPES["compact"], tmp_path, device="cpu", progress=seen.append)
    steps = [one.step for one in seen]
    assert steps[-1] == 12 and steps == sorted(set(steps)) and len(steps) > 1
    for one in seen:
        assert (one.num_steps, one.num_epochs, one.epoch) == (12, 4, (one.step + 2) // 3)
        assert one.clips_per_s == pytest.approx(8 * one.steps_per_s)
        assert one.eta_s == pytest.approx((12 - one.step) / one.steps_per_s)


def test_the_batch_shrinks_to_what_exists(cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe("compact", [*TINY, "batch_size=32", "epochs=1"])
    told: list[str] = []
    result = train(
        cache, recipe, tmp_path, ids=["clip001", "clip002", "clip003", "gone"], device="cpu",
        hold_out=["clip003"], notify=told.append,
    )  # fmt: skip
    assert result.num_steps == 1 and result.notices == told
    assert any("batches of 2 instead of 32" in line for line in told)
    assert any("'gone'" in line for line in told)
    assert json.loads((tmp_path / "run.json").read_text())["ids"] == ["clip001", "clip002"]


def test_one_clip_is_not_enough(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2"):
        train(cache, RECIPES["compact"], tmp_path, ids=["clip001"], device="cpu")


def test_a_weight_scales_its_term(cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe(
        "compact", [*TINY, "epochs=1", "weights.image_to_audio=3", "weights.audio_to_image=0"]
    )
    train(cache, recipe, tmp_path, device="cpu")
    for line in metrics_of(tmp_path):
        assert line["loss"] == pytest.approx(3 * line["image_to_audio"], rel=1e-5)


def test_a_weight_of_no_term_is_refused(cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe("compact", [*TINY, "weights.hint=3"])
    with pytest.raises(UsageError, match=r"weights\.hint.*image_to_audio, audio_to_image"):
        train(cache, recipe, tmp_path, device="cpu")


def test_a_loss_that_is_not_finite_names_the_clips(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 24, broken=frozenset({"clip013"}))
    with pytest.raises(NonFiniteLossError) as caught:
        train(cache, RECIPES["compact"], tmp_path / "run", device="cpu", checkpoint_every_s=0)
    message = str(caught.value)
    assert "clip013" in message and "loss = nan" in message and "\n" not in message
    assert caught.value.exit_code == 4
    assert all(np.isfinite(line["loss"]) for line in metrics_of(tmp_path / "run"))
    if latest_checkpoint(tmp_path / "run"):
        weights = weights_of(tmp_path / "run").values()
        assert all(torch.isfinite(weight).all() for weight in weights)


def test_a_loss_of_validation_that_is_not_finite_names_the_clips(tmp_path: Path) -> None:
    """Written down, it would be damage, and the loss of an earlier epoch be told as the last."""
    cache = make_cache(tmp_path / "cache", 24, broken=frozenset({"clip003"}))
    run = tmp_path / "run"
    with pytest.raises(NonFiniteLossError, match=r"validation after step 2: .* = nan") as caught:
        train(cache, RECIPES["compact"], run, device="cpu", val_ids=VAL)
    message = str(caught.value)
    assert "clip003" in message and "of --val-ids" in message and "\n" not in message
    assert len(metrics_of(run)) == 2 and not (run / "validation.jsonl").exists()


def test_weights_that_are_not_finite_are_never_saved(cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe("compact", [*TINY, "batch_size=24", "epochs=1", "lr=1e300"])
    with pytest.raises(NonFiniteLossError, match=r"^step 1: online\..* is not finite; lower lr"):
        train(cache, recipe, tmp_path, device="cpu")
    (line,) = metrics_of(tmp_path)
    assert np.isfinite(line["loss"])
    assert latest_checkpoint(tmp_path) is None


def test_what_waits_to_be_recorded_holds_no_batch(tmp_path: Path) -> None:
    plan = Plan(Recipe(), 0, 4, 2)
    record = LossJournal(tmp_path / "metrics.jsonl", plan, 0, {7: "a", 8: "b"}, None)
    none = np.zeros((0, 2), np.int64)
    batch = Batch(np.array([7, 8]), torch.zeros(0), none, torch.zeros(0), none, {})
    held = weakref.ref(batch)
    record.add(0, batch, {"loss": torch.tensor(np.nan)})
    del batch
    assert held() is None
    with pytest.raises(NonFiniteLossError, match=r"loss = nan.* a, b"):
        record.flush()


def test_tensorboard_shows_what_the_metrics_say(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, held = load_recipe("compact", [*TINY, "epochs=3"]), cache.ids[-8:]

    def kill(progress: TrainProgress) -> None:
        if progress.step >= 4:
            raise Killed

    with pytest.raises(Killed):
        train(cache, recipe, tmp_path, val_ids=held, checkpoint_every_s=0, progress=kill)
    train(cache, recipe, tmp_path, val_ids=held)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for prefix, name in (("", "metrics.jsonl"), ("validation/", "validation.jsonl")):
        lines = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        shown = events.Scalars(f"{prefix}loss")
        assert [one.step for one in shown] == [line["step"] for line in lines]
        assert [one.value for one in shown] == pytest.approx([line["loss"] for line in lines])

    broken = "tensorboard.summary.writer.record_writer"
    monkeypatch.setitem(sys.modules, broken, None)  # one that does not load
    train(cache, recipe, tmp_path / "without")
    assert not (tmp_path / "without" / "tensorboard").exists()


@pytest.mark.parametrize("number", [1, 3])
def test_curves_that_cannot_be_written_end_with_a_notice(
    number: int,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    calls, honest = itertools.count(1), Path.open

    def full(path: Path, *given: Any, **named: Any) -> Any:
        if "tfevents" in path.name and next(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return honest(path, *given, **named)

    monkeypatch.setattr(Path, "open", full)
    recipe = load_recipe("compact", [*TINY, "epochs=3"])
    result = train(cache, recipe, tmp_path, val_ids=cache.ids[-8:])
    told = [line for line in result.notices if "TensorBoard" in line]
    assert len(told) == 1
    assert re.search(r"tensorboard/events\S+: No space left .*the run goes on", told[0])
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == result.num_steps
    assert capfd.readouterr().err == ""
    assert not any("writer" in type(one).__name__.lower() for one in threading.enumerate())


def test_a_file_in_place_of_the_curves_folder_is_a_notice(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("not a folder")
    result = train(cache, load_recipe("compact", TINY), tmp_path)
    assert sum("tensorboard" in line for line in result.notices) == 1


# Resuming


@pytest.mark.parametrize(
    ("name", "at"),
    [("compact", 2), ("compact", 7), ("compact", 12), ("slavc", 7), ("multi-positive", 5)],
)
def test_killed_and_resumed_is_uninterrupted(
    cache: Cache, whole: dict[str, Path], tmp_path: Path, name: str, at: int
) -> None:
    def kill(progress: TrainProgress) -> None:
        if progress.step >= at:
            raise Killed

    with pytest.raises(Killed):
        train(cache, RECIPES[name], tmp_path, device="cpu", checkpoint_every_s=0, progress=kill)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "loss": 1}\n{"step": 10')  # what a kill may leave
    result = train(cache, RECIPES[name], tmp_path, device="cpu")
    assert result.first_step == at - 1
    assert_same_run(tmp_path, whole[name])


def test_killed_before_the_first_checkpoint(
    cache: Cache, whole: dict[str, Path], tmp_path: Path
) -> None:
    def kill(progress: TrainProgress) -> None:
        raise Killed

    with pytest.raises(Killed):
        train(cache, RECIPES["compact"], tmp_path, device="cpu", progress=kill)
    assert latest_checkpoint(tmp_path) is None and metrics_of(tmp_path)
    other = replace(RECIPES["compact"], lr=1e-5)  # nothing is lost: it may be another run
    with pytest.raises(Killed):
        train(cache, other, tmp_path, device="cpu", progress=kill)
    assert read_record(tmp_path).recipe == other
    result = train(cache, RECIPES["compact"], tmp_path, device="cpu")
    assert result.first_step == 0
    assert_same_run(tmp_path, whole["compact"])


def test_a_finished_run_is_left_alone(cache: Cache, tmp_path: Path) -> None:
    train(cache, RECIPES["compact"], tmp_path, device="cpu")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    result = train(cache, RECIPES["compact"], tmp_path, device="cpu")
    assert result.first_step == result.num_steps and result.loss is None
    before.pop(tmp_path / ".lock")
    assert all(path.stat().st_mtime_ns == old for path, old in before.items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipe": load_recipe("compact", [*TINY, "lr=0.5"])}, "lr = 0.001, this one has 0.5"),
        ({"seed": 3}, "seed = 0, this one has 3"),
        ({"hold_out": ["clip003"]}, "data = "),
    ],
)
def test_another_run_in_the_folder_is_refused(
    cache: Cache, whole: dict[str, Path], change: dict[str, object], says: str
) -> None:
    settings = {"recipe": RECIPES["compact"], **change}
    with pytest.raises(CacheCorruptError, match=says) as caught:
        train(cache, run_dir=whole["compact"], device="cpu", **settings)  # type: ignore[arg-type]
    assert caught.value.exit_code == 5


def test_a_run_is_trained_by_one_process(cache: Cache, tmp_path: Path) -> None:
    def again(progress: TrainProgress) -> None:
        with pytest.raises(UsageError, match="another process"):
            train(cache, RECIPES["compact"], tmp_path, device="cpu")

    train(cache, RECIPES["compact"], tmp_path, device="cpu", progress=again)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_training_goes_on_and_says_so(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    notices = Notices(None)
    with claimed(tmp_path, notices):
        assert os.strerror(number) in notices[0] and "start no other in this folder" in notices[0]
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"), claimed(tmp_path, notices):
        pass


def test_a_folder_that_cannot_be_made(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheUnwritableError, match=r"file.*; make it writable, or name another"):
        train(cache, RECIPES["compact"], tmp_path / "file" / "run", device="cpu")


def test_training_works_outside_the_main_thread(cache: Cache, tmp_path: Path) -> None:
    results: list[TrainResult] = []
    thread = threading.Thread(
        target=lambda: results.append(train(cache, RECIPES["compact"], tmp_path, device="cpu"))
    )
    thread.start()
    thread.join()
    assert results and results[0].loss is not None


PROGRAM = f"""
import sys
from avpipe.cache.store import Cache
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
cache, run, every = sys.argv[1:]
recipe = load_recipe("compact", {TINY!r})
train(Cache(cache), recipe, run, device="cpu", checkpoint_every_s=float(every))
"""


def wait_for(condition: Callable[[], bool], process: Processes) -> None:
    deadline = time.monotonic() + 540
    while not condition() and process.running():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals(
    cache: Cache, whole: dict[str, Path], tmp_path: Path, number: signal.Signals, warm: Warm
) -> None:
    run = tmp_path / "run"
    process = warm.start(PROGRAM, [cache.path, run, "0" if number == signal.SIGKILL else "1e9"])
    begun = run / ("checkpoints/00000002" if number == signal.SIGKILL else "run.json")
    wait_for(begun.exists, process)
    process.send(number)
    assert process.wait() in ([-number], [0])
    train(cache, RECIPES["compact"], run, device="cpu")
    assert_same_run(run, whole["compact"])


def test_sigterm_saves_before_it_ends(cache: Cache, tmp_path: Path) -> None:
    received: list[int] = []
    sent_at: list[int] = []

    def send(at: TrainProgress) -> None:
        if not sent_at:
            sent_at.append(at.step)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        recipe = load_recipe("compact", [*TINY, "epochs=40"])
        train(cache, recipe, tmp_path, device="cpu", progress=send)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    found = latest_checkpoint(tmp_path)
    assert found and found[1] in (sent_at[0], sent_at[0] + 1) and found[1] < 120


HANGS = f"""
import ctypes, os, sys
from avpipe import stopping
from avpipe.train.learner import Learner

learn, libc = Learner.learn, ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(256)  # all zero: one that nobody holds

def hang(self, step, batch):
    if step == 5:
        os.write(1, b"hangs\\n")
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)  # for ever, and no handler of Python's gets to run
    return learn(self, step, batch)

Learner.learn = hang
stopping.GRACE_S, stopping._ONE_S = float(sys.argv.pop()), 0.0
{PROGRAM}
"""


@pytest.mark.faults
@pytest.mark.parametrize(("number", "signals"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_step_that_hangs_is_ended(
    cache: Cache,
    whole: dict[str, Path],
    tmp_path: Path,
    number: signal.Signals,
    signals: int,
    warm: Warm,
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    log.touch()
    process = warm.start(HANGS, [cache.path, run, "0", "0" if signals == 1 else "1e9"], log=log)
    wait_for(lambda: "hangs\n" in log.read_text(), process)
    process.send(number)
    while signals == 2 and process.running():  # one that comes too soon is the first again
        process.send(number)
        time.sleep(0.01)
    assert process.wait() == [128 + number]
    assert log.read_text().endswith("is lost, the same command resumes from the last checkpoint\n")
    found = latest_checkpoint(run)
    assert found and found[1] == 5
    train(cache, RECIPES["compact"], run, device="cpu")
    assert_same_run(run, whole["compact"])


# Averages


def test_momentum_follows_as_a_plain_loop_would() -> None:
    recipe = RECIPES["slavc"]
    objective = load_objective("slavc")
    student = Student(build_model(recipe, objective.NEEDS, 0), recipe).train()
    assert student.momentum is not None
    expected = {name: p.clone() for name, p in student.momentum.named_parameters()}
    statistics = copy.deepcopy(dict(student.momentum.named_buffers()))
    with torch.no_grad():
        for parameter in student.online.parameters():
            parameter.add_(torch.rand_like(parameter))
        for buffer in student.online.buffers():
            buffer.add_(1)
    student.update_momentum()
    online = dict(student.online.named_parameters())
    for name, parameter in student.momentum.named_parameters():
        by_hand = 0.9 * expected[name] + 0.1 * online[name]
        torch.testing.assert_close(parameter, by_hand, atol=1e-6, rtol=0)
        assert not parameter.requires_grad
    for name, buffer in student.momentum.named_buffers():
        assert torch.equal(buffer, statistics[name])


def test_the_test_copy_averages_statistics_too() -> None:
    recipe = RECIPES["compact"]
    student = Student(build_model(recipe, Needs(), 0), recipe)
    assert student.ema is not None and student.tested() is student.ema
    old = copy.deepcopy(student.ema.state_dict())
    with torch.no_grad():
        for value in student.online.state_dict().values():
            value.add_(1)
    student.update_ema(step=10**6)
    for name, value in student.ema.state_dict().items():
        step = 0.01 if value.is_floating_point() else 1
        torch.testing.assert_close(value, old[name] + step, atol=1e-6, rtol=0)
    student.update_ema(step=0)  # an early step: nine tenths of the online network
    new = student.online.state_dict()["image_heads.0.bias"]
    found = student.ema.state_dict()["image_heads.0.bias"]
    torch.testing.assert_close(found, 0.1 * (old["image_heads.0.bias"] + 0.01) + 0.9 * new)


def seen_by(student: Student, views: Views) -> Seen:
    online = student.online(views.frames, views.spectrograms)
    target = student.embed_momentum(views.frames, views.spectrograms) or online
    return Seen(online, target, views.num_views, views.labels, student.heads)


OBJECTIVES = [name for name in objective_names() if name != "spm-audio"]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("num_views", [1, 3])
def test_every_objective_runs_with_every_part(
    objective: str, momentum: float, num_views: int
) -> None:
    recipe = Recipe(objective=objective, momentum=momentum, width=16, embed_dim=8)
    part = load_objective(objective)
    inputs = Inputs(num_classes=5)
    student = build_student(recipe, part, 0, inputs).train()
    torch.manual_seed(1)
    frames = torch.rand(4 * num_views, 3, 64, 64)
    sounds = torch.rand(4 * num_views, 1, 64, 69)
    views = Views(frames, sounds, num_views, labels=torch.tensor([0, 1, 4, 1]))
    terms = part.terms(seen_by(student, views), recipe)
    assert tuple(terms) == part.TERMS
    assert all(torch.isfinite(term) and term > 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in student.trained())
    if student.momentum is not None:
        assert all(p.grad is None for p in student.momentum.parameters())
    online = student.online(views.frames, views.spectrograms)
    maps = part.similarity_map(online.visual, online.audio)
    expected = sum(
        (v * a[:, :, None, None]).sum(1) for v, a in zip(online.visual, online.audio, strict=True)
    )
    torch.testing.assert_close(maps, expected / part.NEEDS.heads)


def test_nine_pairs_of_views_are_nine_losses() -> None:
    recipe = Recipe(objective="alignment", pooling="mean", width=16, embed_dim=8)
    part = load_objective("alignment")
    student = build_student(recipe, part, 0, Inputs()).eval()
    views = Views(torch.rand(12, 3, 64, 64), torch.rand(12, 1, 64, 69), 3)
    terms = part.terms(seen_by(student, views), recipe)
    expected = dict.fromkeys(part.TERMS, 0.0)
    for i in range(3):
        for j in range(3):
            frames, sounds = views.frames[4 * i : 4 * i + 4], views.spectrograms[4 * j : 4 * j + 4]
            pair = part.terms(seen_by(student, Views(frames, sounds)), recipe)
            expected = {name: value + pair[name].item() for name, value in expected.items()}
    found = {name: term.item() for name, term in terms.items()}
    assert found == pytest.approx(expected, rel=1e-5)


def test_momentum_may_average_statistics() -> None:
    recipe = Recipe(momentum=0.9, momentum_buffers=True, width=16, embed_dim=8)
    student = Student(build_model(recipe, Needs(), 0), recipe).train()
    assert student.momentum is not None
    with torch.no_grad():
        for buffer in student.online.buffers():
            buffer.add_(1)
    student.update_momentum()
    for average, online in zip(student.momentum.buffers(), student.online.buffers(), strict=True):
        step = 0.9 if average.is_floating_point() else 0
        torch.testing.assert_close(average, online - step)
    averages = {
        name: value.clone()
        for name, value in student.momentum.named_buffers()
        if value.is_floating_point()
    }
    student.embed_momentum(torch.rand(4, 3, 64, 64), torch.rand(4, 1, 64, 69))
    found = dict(student.momentum.named_buffers())
    assert all(torch.equal(found[name], value) for name, value in averages.items())


# Validation


def validation_of(run: Path) -> list[dict[str, float]]:
    return read_lines(run / "validation.jsonl")


VAL = [f"clip{i:03d}" for i in range(5)]


def test_validation_is_the_loss_of_clips_held_back(cache: Cache, tmp_path: Path) -> None:
    recipe = RECIPES["compact"]
    train(cache, recipe, tmp_path / "run", device="cpu", val_ids=[*VAL, "gone"])
    train(cache, recipe, tmp_path / "plain", device="cpu", hold_out=VAL)
    assert_same_run(tmp_path / "run", tmp_path / "plain")
    lines = validation_of(tmp_path / "run")
    assert [(line["step"], line["epoch"]) for line in lines] == [(2, 1), (4, 2), (6, 3), (8, 4)]
    run = load_run(tmp_path / "run", device="cpu")
    clips = [cache.clip(name) for name in VAL]
    visual = torch.stack([torch.from_numpy(run.embed_frame(clip.frame)) for clip in clips])
    reader = ClipReader(cache, np.arange(5), square(recipe.image_size))
    (batch,) = Stream(reader, 1).batches([Pick.of(np.arange(5))])
    views = evaluation_views(batch, recipe, torch.device("cpu"))
    with torch.inference_mode():
        (audio,) = run._model.embed_spectrograms(views.spectrograms)
    terms = losses.ez_vsl(visual, audio, temperature=recipe.temperature, pooling="lse")
    assert lines[-1]["loss"] == pytest.approx(sum(terms.values()).item(), rel=1e-4)
    assert last_loss(tmp_path / "run" / "validation.jsonl") == lines[-1]["loss"]
    assert last_loss(tmp_path / "plain" / "validation.jsonl") is None


def test_validation_survives_a_kill(cache: Cache, tmp_path: Path) -> None:
    def kill(progress: TrainProgress) -> None:
        if progress.step >= 5:
            raise Killed

    recipe = RECIPES["slavc"]
    train(cache, recipe, tmp_path / "whole", device="cpu", val_ids=VAL)
    with pytest.raises(Killed):
        train(
            cache, recipe, tmp_path / "run", device="cpu", val_ids=VAL,
            checkpoint_every_s=0, progress=kill,
        )  # fmt: skip
    train(cache, recipe, tmp_path / "run", device="cpu", val_ids=VAL)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    ours, theirs = validation_of(tmp_path / "run"), validation_of(tmp_path / "whole")
    assert len(ours) == len(theirs) == 4
    for line, other in zip(ours, theirs, strict=True):
        assert line == pytest.approx(other, abs=1e-6)


def test_what_cannot_be_validated_is_refused(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 1 of the clips to validate on"):
        train(cache, RECIPES["compact"], tmp_path, device="cpu", val_ids=["clip001", "gone"])
    recipe = load_recipe("spm-audio", ["clusters=vggsound-resnet18-k4"])
    with pytest.raises(UsageError, match="learns clusters"):
        train(cache, recipe, tmp_path, device="cpu", val_ids=VAL)


def test_the_time_spent_waiting_for_clips_is_told(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that moves while a batch is read, and while it is learnt from."""
    clock = [0.0]
    monkeypatch.setattr("avpipe.train.data.feed.time.monotonic", lambda: clock[0])

    def batches() -> Iterator[int]:
        for number in range(3):
            clock[0] += 2.0
            yield number

    timed, seen = Timed(batches()), []  # type: ignore[arg-type]
    for batch in timed:
        clock[0] += 5.0
        seen.append(batch)
    assert (seen, timed.waited_s, clock[0]) == ([0, 1, 2], 6.0, 21.0)
    monkeypatch.undo()
    result = train(cache, RECIPES["compact"], tmp_path / "run", device="cpu")
    assert 0 < result.waited_s < result.seconds
    assert train(cache, RECIPES["compact"], tmp_path / "run", device="cpu").waited_s == 0
