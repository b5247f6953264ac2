"""How long the demo takes on this machine: a little of each kind of work, done and timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ...drafts import temporary_folder
from ...machine import free_cores, granted_cores, parse_threads

_NUM_CLIPS = 2
_BUSY = 0.8
"""A machine that gives a smaller share of its cores has other things to do."""


@dataclass(frozen=True)
class MachinePace:
    """What was measured.

    Attributes:
        cores: Cores that are granted.
        free: How many cores' time is to be had just now.
        make_s: CPU time to make a video.
        decode_s: CPU time to decode it, and to compute its row of the cache.
        step_s: Wall time of a step of training.
        pass_s: Wall time of a pass of a small network, `threads.try_network`.
    """

    cores: int
    free: float
    make_s: float
    decode_s: float
    step_s: float
    pass_s: float

    @property
    def busy(self) -> str:
        """Say so if other programs want the cores; empty if none do."""
        if self.free >= _BUSY * self.cores:
            return ""
        return (
            f"This machine is busy: other programs leave {self.free:.1f} of {self.cores} cores. "
            "It goes on, slowly; the times are for as long as that lasts."
        )


def measure_pace(recipe: str, threads: str) -> MachinePace:
    """Make and decode two videos, train a few steps, run a small network.

    Args:
        recipe: What will be trained; it must read nothing beside clips.
        threads: As `--threads` has it.
    """
    from ...train.recipe import load_recipe
    from ...train.rehearsal import seconds_per_step
    from ..networks.threads import seconds_per_pass

    free = free_cores()
    make_s, decode_s = _video_seconds()
    step_s = seconds_per_step(load_recipe(recipe, ()), threads=parse_threads(threads) or "auto")
    pass_s = seconds_per_pass(threads)
    return MachinePace(granted_cores(), free, make_s, decode_s, step_s, pass_s)


def _video_seconds() -> tuple[float, float]:
    """Return the CPU time to make a synthetic video, and to decode it."""
    from ...stages.features import make_row
    from ...stages.synth import NUM_CLASSES, NUM_OBJECTS
    from ...stages.synth.encode import encode_clip
    from ...stages.synth.run import SIZE
    from ...stages.synth.scenes import plan_clips
    from ...stages.synth.world import draw_classes

    world = draw_classes(0, NUM_CLASSES)
    clips = plan_clips(0, world, num_train=_NUM_CLIPS, num_objects=NUM_OBJECTS, size=SIZE)
    clips = clips[:_NUM_CLIPS]
    with temporary_folder() as folder:
        paths = [Path(folder, f"{number}.mp4") for number in range(len(clips))]
        began = time.process_time()
        for path, clip in zip(paths, clips, strict=True):
            path.write_bytes(encode_clip(clip, world, 0))
        made = time.process_time()
        for path in paths:
            make_row(str(path))
        decoded = time.process_time()
    return (made - began) / len(paths), (decoded - made) / len(paths)
