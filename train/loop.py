"""The training loop: a cache and a recipe in; checkpoints and metrics out."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from ..cache.store import Cache
from ..errors import CacheCorruptError, CacheUnwritableError, InputError, UsageError
from ..weights import PRETRAINED
from .augment import training_views
from .checkpoint import latest_checkpoint, load_optimizer, load_weights, save_checkpoint
from .clips import ClipReader, check_spectrogram, data_fingerprint, select_rows, short_side
from .data import Batch, DataMode, Source, open_source
from .device import choose_device, compute_dtype, cuda_devices, keep_freed_memory
from .encoders import load_imagenet
from .model import Student, build_model
from .objectives import Objective, load_objective
from .page import RunPage, library_versions, read_page, require_same, write_page
from .plan import Plan
from .recipe import Recipe
from .record import Progress, Record, cut_metrics


@dataclass(frozen=True)
class TrainResult:
    """What a call of `train` did.

    Attributes:
        run_dir: The run's folder.
        num_steps: Steps of the run, all done.
        first_step: Steps that were done before; `num_steps` if there was nothing to do.
        loss: The last step's loss, None if there was nothing to do.
        seconds: Wall time of the steps of this call.
        notices: Lines the user should see.
    """

    run_dir: Path
    num_steps: int
    first_step: int
    loss: float | None
    seconds: float
    notices: list[str]


def train(
    cache: Cache,
    recipe: Recipe,
    run_dir: str | os.PathLike[str],
    *,
    recipe_name: str = "",
    seed: int = 0,
    ids: Sequence[str] | None = None,
    hold_out: Sequence[str] | None = None,
    data: DataMode = "auto",
    device: str = "auto",
    workers: int | None = None,
    weights: Sequence[str] = (PRETRAINED,),
    checkpoint_every_s: float = 60.0,
    progress: Callable[[Progress], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train one run to its end, from its last checkpoint if it has one.

    Every step draws from (seed, step) and the order of the clips from (seed, epoch): a run that was
    killed and resumed ends as one that was not. On SIGTERM or SIGINT the running step is finished,
    a checkpoint saved, and the signal delivered again.

    Args:
        cache: Where the clips are.
        recipe: How to learn.
        run_dir: Folder of the run, made if needed.
        recipe_name: What to call the recipe in `run.json`.
        seed: Of weights, order and views.
        ids: Train on these clips only.
        hold_out: Never train on these.
        data: Hold the clips in memory or read them from the cache; see `data.open_source`.
        device: `auto`, `cpu`, `cuda`, ...
        workers: Threads that read clips; None for one per processor, at most 8.
        weights: Where pretrained weights come from, as `weights.resolve` takes it.
        checkpoint_every_s: Seconds between checkpoints; what a kill costs at most.
        progress: Called about every ten steps or every second, whichever is sooner.
        notify: Called with each line of the result's `notices` at once.

    Raises:
        InputError: If there are no clips to train on, or the cache holds another spectrogram.
        CacheCorruptError: If the folder holds another run, or cache or checkpoint is damaged.
        MissingDependencyError: If pretrained weights are missing.
        CacheUnwritableError: If the run's folder cannot be written; the same command resumes.
        NonFiniteLossError: If the loss is not finite; the message names the batch's clips.
        UsageError: If another process is training in the folder, or a weight names no term.
    """
    notices = _Notices(notify)
    folder = Path(run_dir)
    rows, absent = select_rows(cache, ids, hold_out)
    notices.tell(*absent)
    check_spectrogram(cache, rows, recipe)
    place = choose_device(device)
    objective = load_objective(recipe.objective)
    _check_weights(recipe, objective)
    plan = Plan(recipe, seed, len(rows), _batch_size(recipe, len(rows), notices))
    ids_of = dict(zip(cache.rows.tolist(), cache.ids, strict=True))
    page = RunPage(
        recipe=recipe,
        recipe_name=recipe_name,
        seed=seed,
        cache=str(cache.path),
        data=data_fingerprint(cache, rows),
        batch_size=plan.batch_size,
        ids=tuple(ids_of[row] for row in rows.tolist()),
        versions=library_versions(),
    )
    with _claimed(folder):
        student = Student(build_model(recipe, objective.NUM_HEADS, seed), recipe)
        _open_page(folder, page, student, weights)
        learner = _Learner(plan, objective, student.to(place).train(), place)
        first_step = _resume(folder, learner)
        if first_step == plan.num_steps:
            return TrainResult(folder, plan.num_steps, first_step, None, 0.0, notices)
        reader = ClipReader(cache, rows, short_side(recipe.image_resize))
        source, line = open_source(reader, data, place, workers)
        notices.tell(f"{line}; {place.type} computes in {learner.precision}")
        record = Record(folder / "metrics.jsonl", plan, first_step, ids_of, progress)
        started = time.monotonic()
        _run(folder, learner, source, record, first_step, checkpoint_every_s)
        seconds = time.monotonic() - started
    return TrainResult(folder, plan.num_steps, first_step, record.loss, seconds, notices)


class _Notices(list[str]):
    """Lines for the user, kept and passed on."""

    def __init__(self, notify: Callable[[str], None] | None) -> None:
        super().__init__()
        self._notify = notify

    def tell(self, *lines: str) -> None:
        for line in lines:
            self.append(line)
            if self._notify:
                self._notify(line)


def _batch_size(recipe: Recipe, num_clips: int, notices: _Notices) -> int:
    """Return the recipe's batch, or all there is."""
    if num_clips < 2:
        raise InputError("contrastive training needs at least 2 clips; there is 1")
    if num_clips < recipe.batch_size:
        notices.tell(f"batches of {num_clips} instead of {recipe.batch_size}: no more clips")
    return min(num_clips, recipe.batch_size)


def _check_weights(recipe: Recipe, objective: Objective) -> None:
    unknown = sorted(set(recipe.weights).difference(objective.TERMS))
    if unknown:
        raise UsageError(
            f"weights.{unknown[0]}: {recipe.objective} has the terms {', '.join(objective.TERMS)}"
        )


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the run's folder: one process trains in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise CacheUnwritableError(f"{folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{folder}: another process is training this run") from None
        yield


def _open_page(folder: Path, page: RunPage, student: Student, weights: Sequence[str]) -> None:
    """Write the run's page, or see that the folder holds this run; load pretrained weights."""
    if (folder / "run.json").exists():
        require_same(folder, found := read_page(folder), page)
        if latest_checkpoint(folder) or page.recipe.image_init == "scratch":
            return
        page = found
    digest = None
    if page.recipe.image_init == "imagenet":
        digest = load_imagenet(student.online.image_encoder, weights)
        student.copy_online()
    if page.image_weights not in (None, digest):
        raise CacheCorruptError(
            f"{folder} holds a run that began with other ImageNet weights; name another folder "
            "with --run"
        )
    write_page(folder, replace(page, image_weights=digest))


def _resume(folder: Path, learner: _Learner) -> int:
    """Load the last checkpoint, cut the metrics to it, and return its step."""
    found = latest_checkpoint(folder)
    step = 0
    if found:
        path, step = found
        learner.student.load_state_dict(load_weights(path))
        learner.optimizer.load_state_dict(load_optimizer(path))
    cut_metrics(folder / "metrics.jsonl", step)
    return step


def _run(
    folder: Path,
    learner: _Learner,
    source: Source,
    record: Record,
    first_step: int,
    checkpoint_every_s: float,
) -> None:
    """Train from `first_step` to the end."""
    plan = learner.plan
    if learner.device.type == "cpu":
        keep_freed_memory()
    saved_at = time.monotonic()
    with _signals() as received, torch.random.fork_rng(cuda_devices(learner.device)):
        for step, batch in enumerate(source.batches(plan.picks(first_step)), first_step):
            record.add(step, batch, learner.learn(step, batch))
            due = time.monotonic() - saved_at >= checkpoint_every_s
            if received or due or step + 1 == plan.num_steps:
                record.flush()  # a loss that is not finite stops here, before it is saved
                weights, state = learner.student.state_dict(), learner.optimizer.state_dict()
                save_checkpoint(folder, step + 1, weights, state)
                saved_at = time.monotonic()
            if received:
                break
    if received:
        signal.raise_signal(received[0])


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of acting on them; only the main thread can."""
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Learner:
    """The networks with their optimizer: one step at a time."""

    def __init__(
        self, plan: Plan, objective: Objective, student: Student, device: torch.device
    ) -> None:
        self.plan, self.student, self.device = plan, student, device
        self._objective = objective
        self._dtype = compute_dtype(plan.recipe.precision, device)
        kind = torch.optim.AdamW if plan.recipe.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            student.online.parameters(),
            lr=plan.recipe.lr,
            weight_decay=plan.recipe.weight_decay,
            fused=True,
        )

    @property
    def precision(self) -> str:
        """What the encoders compute in."""
        return "bf16" if self._dtype == torch.bfloat16 else "fp32"

    def learn(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Learn from one batch; return its loss and unweighted terms, still on the device."""
        recipe, student = self.plan.recipe, self.student
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate(step)
        rng = self.plan.rng(step)
        torch.manual_seed(int(rng.integers(1 << 62)))  # of dropout
        views = training_views(batch, recipe, rng, self.device)
        student.update_momentum()
        bf16 = self._dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            terms = self._objective.terms(student, views, recipe)
        weighted = [recipe.weights.get(name, 1.0) * term for name, term in terms.items()]
        loss = torch.stack(weighted).sum()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        student.update_ema(step)
        return {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}
