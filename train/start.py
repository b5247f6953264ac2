"""How a run begins: its folder is claimed, its record written or compared, its weights loaded."""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..drafts import NO_LOCKS, make_folder, remove_orphans
from ..errors import CacheUnwritableError, InputError, UsageError
from .learner import Learner
from .nets.encoders import Encoder, load_imagenet
from .nets.model import AudioVisualModel
from .nets.student import Student
from .objectives import Objective
from .recipe import Recipe
from .runs.checkpoint import (
    latest_checkpoint,
    load_optimizer,
    load_weights,
    require_checkpoint,
    require_own,
    weights_digest,
)
from .runs.exported import is_left_of_export
from .runs.metric_lines import cut_lines
from .runs.record import RunRecord, one_run, read_record, require_same, write_record


class Notices(list[str]):
    """Lines for the user, kept and passed on."""

    def __init__(self, notify: Callable[[str], None] | None) -> None:
        """Pass lines on to `notify`, if given."""
        super().__init__()
        self._notify = notify

    def tell(self, *lines: str) -> None:
        """Add lines."""
        for line in lines:
            self.append(line)
            if self._notify:
                self._notify(line)


def batch_size_of(recipe: Recipe, num_clips: int, num_ranks: int, notices: Notices) -> int:
    """Return the recipe's batch, or all there is, as processes can share it.

    Raises:
        InputError: A process would have less than two clips.
        UsageError: The recipe's batch cannot be shared.
    """
    least = 2 * num_ranks
    if num_clips < least:
        raise InputError(f"training needs at least {least} clips; there is {num_clips}")
    if recipe.batch_size % num_ranks or recipe.batch_size < least:
        raise UsageError(f"batch_size = {recipe.batch_size} cannot be shared by {num_ranks}")
    size = min(num_clips // num_ranks * num_ranks, recipe.batch_size)
    if size < recipe.batch_size:
        notices.tell(f"batches of {size} instead of {recipe.batch_size}: no more clips")
    return size


def check_weights(recipe: Recipe, objective: Objective) -> None:
    """See that every weight is of a term of the objective, or of a hint.

    Raises:
        UsageError: It is not.
    """
    terms = *objective.TERMS, "audio_hint", "visual_hint"
    unknown = sorted(set(recipe.weights).difference(terms))
    if unknown:
        raise UsageError(
            f"weights.{unknown[0]}: {recipe.objective} has the terms {', '.join(terms)}"
        )


@contextmanager
def claimed(folder: Path, notices: Notices) -> Iterator[None]:
    """Hold the run's folder: one process trains in it.

    Raises:
        UsageError: Another one does, or it holds an exported run, whose record would be lost.
        CacheUnwritableError: The folder cannot be written.
    """
    if is_left_of_export(folder):
        raise UsageError(f"{folder} holds an exported run; name another folder with --run")
    try:
        make_folder(folder)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise CacheUnwritableError(
            f"{folder}: {error.strerror}; make it writable, or name another folder with --run"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another process is training this run") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            notices.tell(
                f"{folder / '.lock'}: this file system has no locks ({error.strerror}): nothing "
                "keeps a second process from training this run; start no other in this folder"
            )
        remove_orphans(folder)
        remove_orphans(folder / "checkpoints")
        yield


def open_record(
    folder: Path, record: RunRecord, student: Student, weights: Sequence[str]
) -> RunRecord:
    """Write the run's record, or check that the folder holds this run; load its weights.

    Returns:
        What the record says.

    Raises:
        InputError: The run that sounds are taken from is not there, or hears something else.
        CacheCorruptError: The folder holds another run.
        MissingDependencyError: Pretrained weights are missing.
    """
    recipe = record.recipe
    saved = latest_checkpoint(folder)
    if saved:  # without one nothing is lost if it begins anew, otherwise too
        found = read_record(folder)
        require_same(folder, found, record)
        require_own(saved[0], found)
        if not found.cache:  # it was put back from an export, which does not know the folder
            write_record(folder, replace(found, cache=record.cache))
        return found
    image = audio = None
    inherited: Collection[str] | None = ()
    if recipe.image_init == "imagenet":
        assert isinstance(student.online.image_encoder, Encoder)  # the recipe was checked for it
        image = load_imagenet(student.online.image_encoder, weights, recipe.image_encoder)
    if recipe.audio_init != "scratch":
        audio = load_audio_encoder(student.online, recipe)
        inherited = read_record(one_run(Path(recipe.audio_init))).trained_on
    student.copy_online()
    begun = replace(
        record,
        image_weights=image,
        audio_weights=audio,
        inherited=None if inherited is None else tuple(sorted(inherited)),
    )
    write_record(folder, begun)
    return begun


def load_audio_encoder(model: AudioVisualModel, recipe: Recipe) -> str:
    """Give a network the encoder of sounds of the run that `audio_init` names.

    Returns:
        The digest of that run's weights.

    Raises:
        InputError: There is no such run, or it hears something else.
        CacheCorruptError: It is damaged.
    """
    folder = Path(recipe.audio_init)
    try:
        folder = one_run(folder)
    except InputError:
        raise InputError(
            f"audio_init = {str(folder)!r} is no run; make one first: `avpipe train --recipe "
            f"spm-audio --run {shlex.quote(str(folder))}`, or name another with --set audio_init="
        ) from None
    record = read_record(folder)
    theirs = record.recipe
    for key in _HEARD:
        if getattr(theirs, key) != getattr(recipe, key):
            raise InputError(
                f"audio_init = {str(folder)!r} has {key} = {getattr(theirs, key)!r}, this recipe "
                f"{getattr(recipe, key)!r}; `--set {key}={getattr(theirs, key)}`"
            )
    checkpoint, _ = require_checkpoint(folder, record)
    prefix = f"{theirs.test_weights}.audio_encoder."
    weights = load_weights(checkpoint)
    model.audio_encoder.load_state_dict(
        {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    )
    return weights_digest(checkpoint)


_HEARD = (
    "width", "audio_last_stride",
    "spectrogram", "spectrogram_mean", "spectrogram_std", "audio_pool",
)  # fmt: skip
"""What an encoder of sounds depends on."""


def resume(folder: Path, learner: Learner, notices: Notices) -> int:
    """Load the last checkpoint and return its step; what leads cuts the metrics to it.

    The metrics of a finished run are left as they are: nothing of them is made again.
    """
    found = latest_checkpoint(folder)
    step = 0
    if found:
        path, step = found
        learner.student.load_state_dict(load_weights(path))
        learner.optimizer.load_state_dict(load_optimizer(path))
    if learner.ranks.leads and step < learner.plan.num_steps:
        every = {"metrics.jsonl": 1, "validation.jsonl": learner.plan.steps_per_epoch}
        for name, steps in every.items():
            if line := cut_lines(folder / name, step, steps):
                notices.tell(line)
    return step
