"""Clips that are hard to localize, in a synthetic world: the difficult cases of the IPOL article.

Each case changes one thing of an ordinary clip, whose first object sounds and whose second does
not. The classes are those a run was trained with, so that a failure is one of the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...advice import quoted
from ...errors import InputError
from ...reading import parse_json, read_regular
from .encode import encode
from .frames import frames
from .scenes import SIDE_PX, NamedClass, SynthClip, SynthObject, place
from .timbre import NUM_SAMPLES, waveform
from .world import CASES, SynthClass, draw_classes

SMALL = (0.12, 0.16)
"""Sides of a small object as shares of the picture's; those trained with are 0.28 to 0.42."""
_PEAK = 0.9


@dataclass(frozen=True)
class Kind:
    """One case.

    Attributes:
        name: Its name.
        shown: Which of three drawn classes the picture's objects are of.
        num_sounding: How many of the objects sound, from the first.
        heard: Which of the three classes are heard.
        what: What it is, for people.
        expect: What a good map shows.
    """

    name: str
    shown: tuple[int, ...]
    num_sounding: int
    heard: tuple[int, ...]
    what: str
    expect: str


KINDS = (
    Kind("ordinary", (0, 1), 1, (0,), "One object sounds, one does not; as in training.",
         "the peak lies in the solid box, the dashed one stays dark."),
    Kind("mixture", (0, 1, 2), 2, (0, 1), "Two objects sound at once, a third does not.",
         "both solid boxes are warm. Trained on one sound at a time, a map may know only one of "
         "them, or be weaker on both."),
    Kind("small", (0, 1), 1, (0,), "What sounds is small: an eighth to a sixth of the side.",
         "the peak still lies in the solid box, but the warm spot is larger than the box: a cell "
         "of the map is about as wide as the object. Overlap scores are low."),
    Kind("silent", (0, 1), 0, (), "Nothing is heard at all; both objects are in the picture.",
         "nothing to find. A map is drawn all the same: it should be cold on the common scale. "
         "Stretched to its own range it would look like a find."),
    Kind("off-screen", (0, 1), 0, (2,), "What is heard is not in the picture.",
         "cold everywhere. A warm object is a guess from the picture alone."),
    Kind("several", (0, 0, 1), 2, (0,), "Two objects of the kind that is heard, and another one.",
         "both solid boxes are warm: by sound alone they cannot be told apart."),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A clip of a case.

    Attributes:
        kind: Which case.
        name: Names its file.
        clip: Its picture; `sound_class` is that of the first object.
        heard: Classes that are heard.
    """

    kind: Kind
    name: str
    clip: SynthClip
    heard: tuple[int, ...]

    @property
    def sounding(self) -> NDArray[np.float64]:
        """`(k, 4)` boxes of what sounds, shares of the sides."""
        return _boxes(self.clip.objects[: self.kind.num_sounding])

    @property
    def silent(self) -> NDArray[np.float64]:
        """`(k, 4)` boxes of what does not."""
        return _boxes(self.clip.objects[self.kind.num_sounding :])


def _boxes(objects: Sequence[SynthObject]) -> NDArray[np.float64]:
    return np.array([thing.box_px for thing in objects], float).reshape(-1, 4) / SIDE_PX


Complete = Callable[
    [np.random.Generator, SynthClip, Sequence[int], Sequence[tuple[float, float]]], SynthClip
]
"""Gives a clip objects of classes, with bounds of their sizes."""


def read_world(folder: Path) -> tuple[int, tuple[SynthClass, ...], tuple[float, float]]:
    """Return a world's seed, its classes and the bounds of its objects' sizes.

    Raises:
        InputError: The folder is not one that `avpipe synth` made.
    """
    try:
        made = parse_json(read_regular(folder / "world.json"))
        low, high = made["size"]
        return made["seed"], draw_classes(made["seed"], made["classes"]), (low, high)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{folder} is no synthetic world; `avpipe synth {quoted(folder)}` makes one"
        ) from error


def plan_cases(
    seed: int,
    world: Sequence[NamedClass],
    *,
    each: int,
    size: tuple[float, float],
    complete: Complete | None = None,
) -> list[Case]:
    """Plan so many clips of each case, case by case.

    Args:
        seed: Of the world.
        world: Its classes; at least three are not held out.
        each: Clips of a case.
        size: Bounds of an ordinary object's sides as shares of the picture's.
        complete: Gives a clip its objects; None: drawn ones.
    """
    return list(_cases(seed, world, each, size, complete or _with_objects))


def _with_objects(
    rng: np.random.Generator,
    clip: SynthClip,
    shown: Sequence[int],
    sizes: Sequence[tuple[float, float]],
) -> SynthClip:
    return replace(clip, objects=place(rng, shown, sizes))


def _cases(
    seed: int,
    world: Sequence[NamedClass],
    each: int,
    size: tuple[float, float],
    complete: Complete,
) -> Iterator[Case]:
    rng = np.random.default_rng([seed, CASES])
    trained = [index for index, one in enumerate(world) if not one.held_out]
    for kind in KINDS:
        for number in range(each):
            drawn = [int(one) for one in rng.permutation(trained)[:3]]
            shown = [drawn[place_of] for place_of in kind.shown]
            sizes = [SMALL if kind.name == "small" and i == 0 else size for i in range(len(shown))]
            clip = SynthClip(
                index=each * KINDS.index(kind) + number,
                clip_id=f"{kind.name}-{number + 1}",
                split="test",
                sound_class=shown[0],
                offscreen=kind.num_sounding == 0,
                held_out=False,
                objects=(),
            )
            clip = complete(rng, clip, shown, sizes)
            yield Case(kind, clip.clip_id, clip, tuple(drawn[one] for one in kind.heard))


def encode_case(case: Case, world: Sequence[SynthClass], seed: int) -> bytes:
    """Return a case's clip as MP4, made as the world's clips are."""
    picture_rng = np.random.default_rng([seed, CASES, 1, case.clip.index])
    sound_rng = np.random.default_rng([seed, CASES, 2, case.clip.index])
    return encode(frames(case.clip, world, picture_rng), mix(case.heard, world, sound_rng))


def mix(
    heard: Sequence[int], world: Sequence[SynthClass], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Play classes together, equally loud; none of them is silence, `(1, 176400)`."""
    if not heard:
        return np.zeros((1, NUM_SAMPLES), np.float32)
    waves = [waveform(world[one].timbre, rng).mean(0, dtype=np.float32) for one in heard]
    total = np.sum([wave / wave.std() for wave in waves], axis=0)
    mixed: NDArray[np.float32] = (total * _PEAK / np.abs(total).max())[None].astype(np.float32)
    return mixed
