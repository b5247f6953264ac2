"""The plan of every clip of a synthetic world: what it shows, what sounds, where the boxes lie.

A function of the seed that needs no rendering.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .world import PLAN

SIDE_PX = 256
FRAME_RATE_HZ = 15
DURATION_S = 4
NUM_FRAMES = FRAME_RATE_HZ * DURATION_S
MIDDLE_FRAME = NUM_FRAMES // 2
"""The frame shown at `DURATION_S / 2`: boxes are exact there."""

TEST_SHARE = 0.30
OFFSCREEN_SHARE = 0.15
MISMATCHED_SHARE = 0.15
MAX_SPEED = 0.03
"""Fastest drift, in picture sides a second: at most 6 % of the side away from the box."""


class NamedClass(Protocol):
    """What plan and lists know of a class."""

    @property
    def name(self) -> str:
        """Its label."""

    @property
    def held_out(self) -> bool:
        """Whether training neither shows nor sounds it."""


@dataclass(frozen=True)
class SynthObject:
    """One object of a clip: its class, its box (x1, y1, x2, y2) in the middle frame, its drift."""

    class_index: int
    box_px: tuple[int, int, int, int]
    velocity_px_s: tuple[float, float]


@dataclass(frozen=True)
class SynthClip:
    """One clip. Its first object sounds, unless `offscreen`: then nothing in the picture does."""

    index: int
    clip_id: str
    split: Literal["train", "test"]
    sound_class: int
    offscreen: bool
    held_out: bool
    objects: tuple[SynthObject, ...]

    @property
    def silent(self) -> tuple[SynthObject, ...]:
        """The objects in the picture that make no sound."""
        return self.objects if self.offscreen else self.objects[1:]


Arrange = Callable[[np.random.Generator, SynthClip, Sequence[int]], tuple[SynthObject, ...]]
"""Gives a clip, planned but for its objects, those of the classes that it shows."""


def plan_clips(
    seed: int,
    classes: Sequence[NamedClass],
    *,
    num_train: int,
    num_objects: int,
    size: tuple[float, float],
    num_test: int | None = None,
    arrange: Arrange | None = None,
    prefix: str = "synth",
) -> tuple[SynthClip, ...]:
    """Plan every clip: training clips first, then the test clips in random order.

    Of the test clips 15 % are off-screen negatives. The others sound every class equally often: a
    share `num_held_out / num_classes` of them sounds a held-out class. Only those may show
    held-out classes, so that a score on the rest depends on trained classes alone.

    Args:
        seed: Of the world.
        classes: From `draw_classes`.
        num_train: Training clips.
        num_objects: Objects in every picture.
        size: Bounds of an object's width and height as shares of the side, each drawn uniformly.
        num_test: Test clips that follow; None: `TEST_SHARE` of the training clips.
        arrange: Places a clip's objects; None: `place` with `size`.
        prefix: What ids begin with.
    """
    rng = np.random.default_rng([seed, PLAN])
    trained = [i for i, c in enumerate(classes) if not c.held_out]
    held_out = [i for i, c in enumerate(classes) if c.held_out]
    num_test = num_test or max(1, round(TEST_SHARE * num_train))
    num_offscreen = round(OFFSCREEN_SHARE * num_test)
    num_unheard = round((num_test - num_offscreen) * len(held_out) / len(classes))
    kinds = np.repeat(
        ["offscreen", "unheard", "heard"],
        [num_offscreen, num_unheard, num_test - num_offscreen - num_unheard],
    )
    sounds = {
        "train": cycle(rng, trained),
        "heard": cycle(rng, trained),
        "offscreen": cycle(rng, trained),
        "unheard": cycle(rng, held_out),
    }
    clips = []
    for index, kind in enumerate(chain(repeat("train", num_train), rng.permutation(kinds))):
        sound_class = next(sounds[str(kind)])
        pool = [*trained, *held_out] if kind == "unheard" else trained
        others = rng.permutation([c for c in pool if c != sound_class])
        shown = [*([] if kind == "offscreen" else [sound_class]), *others][:num_objects]
        bare = SynthClip(
            index=index,
            clip_id=f"{prefix}{seed}-{index:05d}_000000",
            split="train" if kind == "train" else "test",
            sound_class=sound_class,
            offscreen=bool(kind == "offscreen"),
            held_out=bool(kind == "unheard"),
            objects=(),
        )
        shown = [int(c) for c in shown]
        if arrange is None:
            objects = place(rng, shown, [size] * len(shown))
        else:
            objects = arrange(rng, bare, shown)
        clips.append(replace(bare, objects=objects))
    return tuple(clips)


def cycle(rng: np.random.Generator, pool: Sequence[int]) -> Iterator[int]:
    """Every member once in random order, then again in another order, without end."""
    while True:
        yield from (int(c) for c in rng.permutation(pool))


def place(
    rng: np.random.Generator, shown: Sequence[int], sizes: Sequence[tuple[float, float]]
) -> tuple[SynthObject, ...]:
    """Boxes wholly inside the picture and apart; every such arrangement is equally likely.

    Sizes are drawn before positions, so that rejecting overlaps does not favour small objects.

    Args:
        rng: Draws.
        shown: The objects' classes.
        sizes: Bounds of each object's width and height as shares of the side.
    """
    low, high = np.array(sizes).T[..., None]
    sizes_px = np.rint(rng.uniform(low, high, (len(shown), 2)) * SIDE_PX).astype(np.int64)
    return place_px(rng, shown, sizes_px)


def place_px(
    rng: np.random.Generator, shown: Sequence[int], sizes_px: NDArray[np.int64]
) -> tuple[SynthObject, ...]:
    """Place boxes of known sizes, as `place` does.

    Args:
        rng: Draws.
        shown: The objects' classes.
        sizes_px: `(n, 2)` widths and heights that can lie apart.
    """
    while True:
        corners_px = rng.integers(0, SIDE_PX - sizes_px + 1, (256, len(shown), 2))
        apart = _are_apart(corners_px, sizes_px)
        if apart.any():
            break
    angles = rng.uniform(0, 2 * np.pi, len(shown))
    speeds_px_s = rng.uniform(0.2, 1, len(shown)) * MAX_SPEED * SIDE_PX
    objects = []
    for class_index, (x, y), (width, height), angle, speed in zip(
        shown, corners_px[apart.argmax()], sizes_px, angles, speeds_px_s, strict=True
    ):
        box_px = (int(x), int(y), int(x + width), int(y + height))
        velocity = (float(speed * np.cos(angle)), float(speed * np.sin(angle)))
        objects.append(SynthObject(class_index, box_px, velocity))
    return tuple(objects)


def _are_apart(corners_px: NDArray[np.int64], sizes_px: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the (t, n, 2) tries have no two overlapping boxes."""
    apart = np.ones(len(corners_px), bool)
    for i in range(len(sizes_px)):
        for j in range(i):
            low = np.maximum(corners_px[:, i], corners_px[:, j])
            high = np.minimum(corners_px[:, i] + sizes_px[i], corners_px[:, j] + sizes_px[j])
            apart &= (low >= high).any(axis=-1)
    return apart
