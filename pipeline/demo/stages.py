"""The commands of the demo, in order: what each does, how long it takes, what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...machine import AUTO
from ...stages.synth.scenes import TEST_SHARE
from . import Extent
from .pace import MachinePace

Document = dict[str, Any]

_EVALUATE_STEPS, _KNN_STEPS = 0.08, 0.04
"""What stages take with a training clip of the world, or of those searched, in training steps."""
_LOCALIZE_STEPS = 50
"""What drawing takes, in steps of training."""


@dataclass(frozen=True)
class Stage:
    """One command of the demo.

    Attributes:
        words: The command.
        does: What it does, in a line.
        about_s: How long it takes on a machine of that pace.
        tell: What came of it, from its `--json`.
    """

    words: tuple[str, ...]
    does: str
    about_s: Callable[[MachinePace], float]
    tell: Callable[[Document], str]


def stages_of(
    out: Path, extent: Extent, *, seed: int, steps: int, threads: str, known: str
) -> list[Stage]:
    """Return the stages in order: the maps before the teachers.

    Args:
        out: The demo's folder.
        extent: How far it goes.
        seed: Of the world.
        steps: Of training.
        threads: What commands that run networks get as `--threads`.
        known: What the teachers know, in words.
    """
    clips = extent.clips
    synth = ("synth", f"{out}/synth", "--clips", str(clips), "--seed", str(seed))
    localize = ("localize", "--ids", f"{out}/pictures.txt", "--out", f"{out}/pictures")
    told = () if threads == AUTO else ("--threads", threads)
    few = () if extent.taught is None else ("--ids", f"{out}/teachers.txt")
    videos = clips * (1 + TEST_SHARE)
    taught = videos if extent.taught is None else min(extent.taught, clips)
    searched = clips if extent.taught is None else taught
    which = "every clip" if extent.taught is None else f"{taught:.0f} clips"
    return [
        Stage(
            synth,
            f"make short videos, {clips} to learn from and 30 % more to test: one object sounds",
            lambda pace: videos * pace.make_s / pace.free,
            lambda made: f"{made['num_made']} videos made, {made['num_kept']} were there",
        ),
        Stage(
            ("extract",),
            "decode every video once into the cache",
            lambda pace: videos * pace.decode_s / pace.free,
            _counts,
        ),
        Stage(
            ("train", *told),
            "learn to localize from pairs of frame and sound, without labels or teachers",
            lambda pace: steps * pace.step_s,
            lambda done: f"{done['runs'][0]['num_steps']} steps",
        ),
        Stage(
            ("evaluate", f"{out}/run", *told),
            "score the maps of test videos against the boxes of what sounds",
            lambda pace: clips * _EVALUATE_STEPS * pace.step_s,
            lambda done: f"{done['runs'][0]['n_scored']} maps scored",
        ),
        Stage(
            (*localize, *told),
            "draw the maps of the first test videos",
            lambda pace: _LOCALIZE_STEPS * pace.step_s,
            lambda drawn: f"{len(drawn['pictures'])} pictures",
        ),
        Stage(
            ("embed-teachers", *few, *told),
            f"for other recipes: what two teachers see and hear of {which}; {known}",
            lambda pace: taught * extent.teach_passes * pace.pass_s,
            _counts,
        ),
        Stage(
            ("knn", *few, *told),
            f"for other recipes: of {which} the nearest others by sight and by sound",
            lambda pace: searched * _KNN_STEPS * pace.step_s,
            _counts,
        ),
    ]


def _counts(document: Document) -> str:
    return f"{document['done']} done, {document['skipped']} were there"
