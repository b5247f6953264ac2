"""The training loop: a cache and a recipe in; checkpoints and metrics out."""

from __future__ import annotations

import copy
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from ..cache.store import Cache
from ..machine import AUTO
from ..stopping import stop_signals
from ..weights import PRETRAINED, check_specs
from .data.bank import made_bank
from .data.batches import DataMode
from .data.clips import data_fingerprint, select_rows
from .data.columns import find_inputs, fit_components, reduced
from .data.feed import Timed, open_feed
from .data.sources import reading_threads
from .data.spectrograms import front_end_to_compute
from .data.standard import standard_hints
from .device import choose_device, cuda_devices, keep_freed_memory
from .learner import Learner, build_student
from .nets.encoders import IMAGENET_NETWORK, PRETRAINED_NETWORKS
from .objectives import load_objective, made_names
from .ranks import join_ranks, share_norms
from .recipe import Recipe
from .runs.board import open_board
from .runs.checkpoint import latest_checkpoint, prune, save_checkpoint
from .runs.journal import LossJournal, TrainProgress
from .runs.made_by import note
from .runs.metric_lines import sync_lines
from .runs.record import RunRecord, library_versions
from .schedule import Plan
from .start import Notices, batch_size_of, check_weights, claimed, open_record, resume
from .threads import Pace, Threads, own_threads, settle_threads
from .validate import Validation, validation_rows

step_clock = time.perf_counter
"""What steps are timed by."""


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
        waited_s: As much of `seconds` was spent waiting for clips to be read; on a GPU, which may
            have been computing meanwhile, at most.
    """

    run_dir: Path
    num_steps: int
    first_step: int
    loss: float | None
    seconds: float
    notices: list[str]
    waited_s: float = 0.0


def train(
    cache: Cache,
    recipe: Recipe,
    run_dir: str | os.PathLike[str],
    *,
    recipe_name: str = "",
    seed: int = 0,
    ids: Sequence[str] | None = None,
    hold_out: Sequence[str] | None = None,
    val_ids: Sequence[str] | None = None,
    data: DataMode = AUTO,
    device: str = AUTO,
    threads: Threads = None,
    workers: int | None = None,
    weights: Sequence[str] = (PRETRAINED,),
    checkpoint_every_s: float = 60.0,
    progress: Callable[[TrainProgress], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train one run to its end, from its last checkpoint if it has one.

    Every step draws from (seed, step) and the order of the clips from (seed, epoch): a run that was
    killed and resumed ends as one that was not. On SIGTERM or SIGINT the running step is finished,
    a checkpoint saved, and the signal delivered again; a second signal, or a minute, ends the
    process without (`stopping`). Under `torchrun` all processes train the one
    run, each on its share of the clips and of every batch.

    Args:
        cache: Where the clips are.
        recipe: How to learn.
        run_dir: Folder of the run, made if needed.
        recipe_name: What to call the recipe in `run.json`.
        seed: Of weights, order and views.
        ids: Train on these clips only.
        hold_out: Never train on these.
        val_ids: Nor on these: their loss is written to `validation.jsonl` after each epoch. No
            weights are chosen by it.
        data: Hold the clips in memory or read them from the cache; see `sources.open_source`.
        device: `auto`, `cpu`, `cuda`, ...
        threads: Of a step on a CPU: a number, `auto` for the faster of one and all, tried before
            the first step, or None for as many as PyTorch is set to. A run that was begun goes
            on with what it has, unless a number is given.
        workers: Threads that read clips; None for one per granted core, at most 8.
        weights: Where pretrained weights come from, as `weights.resolve` takes it.
        checkpoint_every_s: Seconds between checkpoints; what a kill costs at most.
        progress: Called about every ten steps or every second, whichever is sooner.
        notify: Called with each line of the result's `notices` at once.

    Raises:
        InputError: If there are no clips to train on, or the cache has not the sound to compute
            the spectrograms of another front-end from.
        CacheCorruptError: If the folder holds another run, or cache or checkpoint is damaged.
        MissingDependencyError: If pretrained weights are missing.
        CacheUnwritableError: If the run's folder cannot be written; the same command resumes.
        NonFiniteLossError: If the loss or a weight is not finite; the message names the batch's
            clips.
        UsageError: If another process is training in the folder, a weight names no term,
            `weights` no network of this run, or the objective cannot be validated.
    """
    ranks, place = join_ranks(choose_device(device))
    notices = Notices(notify if ranks.leads else None)
    folder = Path(run_dir)
    objective = load_objective(recipe.objective)
    check_weights(recipe, objective)
    network, *_ = PRETRAINED_NETWORKS.get(recipe.image_encoder, (IMAGENET_NETWORK,))
    teachers = (
        [recipe.sound_teacher] if recipe.sound_teacher and made_names(objective, recipe) else []
    )
    began = [] if recipe.image_teacher else [network]  # cached features begin with no network
    check_specs(weights, [*began, *teachers])
    validated = None if val_ids is None else validation_rows(cache, val_ids, objective)
    rows, absent = select_rows(cache, ids, [*(hold_out or ()), *(val_ids or ())])
    if not recipe.sound_teacher:
        front_end_to_compute(cache, rows, recipe.spectrogram)  # what is missing is told first
    inputs = find_inputs(cache, rows, recipe, objective.NEEDS, validated)
    notices.tell(*absent, *inputs.notices)
    batch_size = batch_size_of(recipe, len(rows), ranks.size, notices)
    plan = Plan(recipe, seed, len(rows), batch_size, ranks.rank, ranks.size)
    ids_of = dict(zip(cache.rows.tolist(), cache.ids, strict=True))
    record = RunRecord(
        recipe=recipe,
        recipe_name=recipe_name,
        seed=seed,
        cache=str(cache.path),
        data=data_fingerprint(cache, rows, inputs.stages),
        batch_size=batch_size,
        ids=tuple(ids_of[row] for row in rows.tolist()),
        versions=library_versions(),
        num_ranks=ranks.size,
        inputs=inputs.weights,
        features=inputs.cached,
    )
    with claimed(folder, notices) if ranks.leads else nullcontext():
        student = build_student(recipe, objective, seed, inputs)
        if inputs.cached and not latest_checkpoint(folder):
            fit_components(student.online, cache, rows, inputs.columns, whiten=recipe.whiten)
            student.copy_online()
        if ranks.leads:
            record = open_record(folder, record, student, weights)
            note(folder, "train")
        ranks.wait()
        student = share_norms(student, recipe, ranks).to(place).train()
        bank = made_bank(recipe, made_names(objective, recipe), student.online, weights, place)
        learner = Learner(plan, objective, student, place, ranks, inputs.hint_cells, bank)
        if place.type == "cpu":
            keep_freed_memory()
        first_step = resume(folder, learner, notices)
        if ranks.leads:
            prune(folder)  # what a kill after the last checkpoint left, now that it was read
        if first_step == plan.num_steps:
            return TrainResult(folder, plan.num_steps, first_step, None, 0.0, notices)
        columns = reduced(inputs.columns, student.online)
        if recipe.hint_scale == "standard":
            columns = standard_hints(cache, rows, columns, recipe.hint_names)
        with own_threads():
            feed, line = open_feed(
                cache, rows, plan, objective.NEEDS, inputs, columns,
                mode=data, device=place, workers=workers,
            )  # fmt: skip
            notices.tell(f"{line}; {place.type} computes in {'bf16' if learner.bf16 else 'fp32'}")
            number = settle_threads(
                folder,
                threads,
                learner,
                lambda: Learner(
                    plan,
                    objective,
                    copy.deepcopy(student),
                    place,
                    hint_cells=inputs.hint_cells,
                    bank=bank,
                ),
                feed,
                first_step,
                notices,
            )
            journal = validation = None
            if ranks.leads:
                board = open_board(folder, first_step, notices.tell)
                journal = LossJournal(
                    folder / "metrics.jsonl", plan, first_step, ids_of, progress, board
                )
                if validated is not None:
                    reading = reading_threads(workers)
                    features = {name: one for name, one in columns.items() if one.whole}
                    validation = Validation(
                        cache, validated, learner, reading, folder, board, features
                    )
            pace = Pace(number, notices.tell) if number and ranks.leads else None
            started = time.monotonic()
            batches = Timed(feed(first_step))
            _run(
                folder, record, learner, batches, journal, validation, pace, first_step,
                checkpoint_every_s,
            )  # fmt: skip
            seconds = time.monotonic() - started
        loss = journal.loss if journal else None
    waited_s = batches.waited_s
    return TrainResult(folder, plan.num_steps, first_step, loss, seconds, notices, waited_s)


def _run(
    folder: Path,
    record: RunRecord,
    learner: Learner,
    batches: Timed,
    journal: LossJournal | None,
    validation: Validation | None,
    pace: Pace | None,
    first_step: int,
    checkpoint_every_s: float,
) -> None:
    """Train from `first_step` to the end; what leads records, validates and saves."""
    plan, ranks = learner.plan, learner.ranks
    saved_at = time.monotonic()
    with stop_signals() as received, torch.random.fork_rng(cuda_devices(learner.device)):
        for step, batch in enumerate(batches, first_step):
            began = step_clock()
            values = learner.learn(step, batch)
            if pace:
                pace.add(step_clock() - began)
            stop = ranks.any(bool(received))
            if journal:
                journal.add(step, batch, values)
                if validation and (step + 1) % plan.steps_per_epoch == 0:
                    journal.flush()  # a loss of training that is not finite is told first
                    validation.after(step + 1)
                due = time.monotonic() - saved_at >= checkpoint_every_s
                if stop or due or step + 1 == plan.num_steps:
                    journal.flush()  # a loss that is not finite stops here, before it is saved
                    weights, state = learner.student.state_dict(), learner.optimizer.state_dict()
                    journal.require_finite(step, batch, weights)
                    sync_lines(folder)  # first: what is done is not told again
                    save_checkpoint(folder, step + 1, weights, state, record)
                    saved_at = time.monotonic()
            if stop:
                break
        ranks.wait()  # none ends before the last checkpoint is there
    if received:
        signal.raise_signal(received[0])
