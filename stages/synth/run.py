"""`avpipe synth`: labelled clips of drawn shapes and tones, whose sounding boxes are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from ...errors import UsageError
from . import MIN_TRAINED, NUM_CLASSES, NUM_OBJECTS
from .encode import encode_clip
from .folder import Blueprint, SynthSummary, fill, versions
from .scenes import plan_clips
from .world import draw_classes

__all__ = ["FORMAT", "MAX_SIZE", "SIZE", "check_arguments", "synth"]

FORMAT = "avpipe.synth/1"
MAX_SIZE = 0.45
SIZE = (0.28, 0.42)
"""Bounds of an object's width and height, as shares of the side."""


def synth(
    out: Path,
    *,
    clips: int,
    classes: int = NUM_CLASSES,
    seed: int = 0,
    num_objects: int = NUM_OBJECTS,
    size: tuple[float, float] = SIZE,
    num_test: int | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SynthSummary:
    """Make a synthetic world, or finish one.

    Args:
        out: Folder to fill; new, empty, or holding an unfinished part of this very world.
        clips: Training clips; 30 % as many test clips are added, 15 % of them off-screen negatives.
        classes: Classes of the world, held-out ones included.
        seed: Of everything: classes, clips, pixels, samples.
        num_objects: Objects per picture, 2 or 3; exactly one sounds, none in an off-screen clip.
        size: Bounds of an object's width and height as shares of the side.
        num_test: Test clips, if not 30 %.
        jobs: Processes; the bytes do not depend on it.
        progress: Called with (clips present, clips wanted).

    Raises:
        UsageError: An argument is out of range, or `out` holds something else.
        CacheUnwritableError: `out` cannot be written or the disk is full; the same call resumes.
    """
    if classes < MIN_TRAINED:
        raise UsageError(f"--classes {classes}: at least {MIN_TRAINED}")
    check_arguments(clips, num_test, seed, num_objects, size)
    parameters: dict[str, object] = {
        "seed": seed,
        "clips": clips,
        "classes": classes,
        "objects": num_objects,
        "size": [float(bound) for bound in size],
    }
    if num_test is not None:
        parameters["test"] = num_test
    world = draw_classes(seed, classes)
    plan = plan_clips(
        seed, world, num_train=clips, num_test=num_test, num_objects=num_objects, size=size
    )
    blueprint = Blueprint(
        format=FORMAT,
        parameters=parameters,
        versions=versions(),
        record={"class_list": [asdict(c) for c in world]},
        seed=seed,
        classes=world,
        clips=plan,
        encode=partial(encode_clip, world=world, seed=seed),
        texts={},
    )
    return fill(out, blueprint, jobs=jobs, progress=progress)


def check_arguments(
    clips: int, num_test: int | None, seed: int, num_objects: int, size: tuple[float, float]
) -> None:
    """Refuse what no world can have.

    Raises:
        UsageError: An argument is out of range.
    """
    if clips < 1:
        raise UsageError(f"--clips {clips}: at least 1")
    if num_test is not None and num_test < 1:
        raise UsageError(f"--test {num_test}: at least 1")
    if seed < 0:
        raise UsageError(f"--seed {seed}: must not be negative")
    if num_objects not in (2, 3):
        raise UsageError(f"--objects {num_objects}: 2 or 3")
    if not 0.05 <= size[0] <= size[1] <= MAX_SIZE:
        raise UsageError(f"--size {size[0]},{size[1]}: needs 0.05 <= low <= high <= {MAX_SIZE}")
