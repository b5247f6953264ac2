"""Synthetic examples for the page of `avpipe serve`, made when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....cache.schema import FULL_SCALE
from ....stages.synth import NUM_CLASSES, NUM_OBJECTS
from ....stages.synth.encode import encode_clip
from ....stages.synth.frames import frames
from ....stages.synth.run import SIZE
from ....stages.synth.scenes import MIDDLE_FRAME, SynthClip, plan_clips
from ....stages.synth.timbre import RATE_HZ, waveform
from ....stages.synth.world import PICTURE, SOUND, SynthClass, draw_classes
from ....stages.wav import wav_bytes

_WORLD_SEED = 0
"""The classes of `avpipe synth` and `avpipe demo`: what they train on is known here."""
_SEED = 20_237
"""Of the clips, which are in none of their worlds."""


class Examples(NamedTuple):
    """Files to try.

    Attributes:
        pairs: A picture and a sound; some share their picture, in the last one nothing sounds.
        clips: Videos, each alone.
    """

    pairs: list[tuple[Path, Path]]
    clips: list[tuple[Path]]


def write_examples(folder: Path) -> Examples:
    """Write pictures, sounds and clips of the synthetic world into an empty folder."""
    world = draw_classes(_WORLD_SEED, NUM_CLASSES)
    scenes = [
        clip
        for clip in plan_clips(_SEED, world, num_train=4, num_objects=NUM_OBJECTS, size=SIZE)
        if clip.split == "train"
    ]
    pairs = []
    for clip in scenes[:2]:
        picture = folder / f"scene-{clip.index + 1}.png"
        Image.fromarray(_middle_frame(clip, world)).save(picture)
        pairs += [(picture, _sound(folder, world, thing.class_index)) for thing in clip.objects]
    shown = {thing.class_index for thing in scenes[0].objects}
    absent = next(i for i, one in enumerate(world) if not one.held_out and i not in shown)
    pairs.append((pairs[0][0], _sound(folder, world, absent, "not-in-the-picture")))
    clips = []
    for clip in scenes[2:]:
        video = folder / f"clip-{clip.index + 1}.mp4"
        video.write_bytes(encode_clip(clip, world, _SEED))
        clips.append((video,))
    return Examples(pairs, clips)


def _middle_frame(clip: SynthClip, world: Sequence[SynthClass]) -> NDArray[np.uint8]:
    rng = np.random.default_rng([_SEED, PICTURE, clip.index])
    return next(islice(frames(clip, world, rng), MIDDLE_FRAME, None))


def _sound(folder: Path, world: Sequence[SynthClass], index: int, name: str = "") -> Path:
    """Write a class's sound, named as the class looks."""
    path = folder / f"{name or world[index].name.partition('-')[2]}.wav"
    samples = waveform(world[index].timbre, np.random.default_rng([_SEED, SOUND, index])).mean(0)
    path.write_bytes(wav_bytes(np.rint(samples * FULL_SCALE).astype(np.int16), RATE_HZ))
    return path
