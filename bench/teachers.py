"""Clips per second of pretrained networks on one core, as `embed-teachers` runs them.

Weights are random and of the real shapes: they cost what released ones cost. A clip is counted
from its decoded frame, or from its sound, to what is stored of it: resizing and front-ends are in,
reading and decoding are not. Networks take turns, in another order each round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from avpipe.stages.teachers.live import build_network
from avpipe.stages.teachers.protocol import load_teacher
from avpipe.weights import RANDOM, resolve
from common import (
    add_clock,
    clock,
    interleave,
    parser,
    pin_to_one_core,
    ratio,
    report,
    table,
    typical,
)
from machine_words import cpu_name

TEACHERS = (
    "efficientat-mn04", "efficientat-mn10", "efficientat-mn40-ext", "panns-cnn14",
    "mobilenet-v2", "mobilenet-v2-448", "detr-r50",
)  # fmt: skip
REFERENCES = {"waveform": "panns-cnn14", "frame": "detr-r50"}
"""The papers' networks, which the others are compared with."""
FAST, SLOW = "efficientat-mn04", "panns-cnn14"
WANTED = 20
FRAME_HW, SOUND_S, RATE_HZ = (256, 341), 10, 32_000


def options() -> argparse.Namespace:
    """What to measure."""
    made = parser(__doc__)
    add_clock(made)
    made.add_argument("--rounds", type=int, default=7, help="rounds that count, after one")
    made.add_argument("--batch-size", type=int, default=8, help="clips a time")
    made.add_argument("--teachers", nargs="+", default=TEACHERS, help="which")
    return made.parse_args()


def worker(name: str, batch_size: int) -> Callable[[None], object]:
    """Build a teacher; return what prepares a batch of noise and passes it through."""
    teacher = load_teacher(name)
    network = build_network(teacher, resolve("any", teacher.FILES, (RANDOM,)), "cpu")
    rng = np.random.default_rng(0)
    clip: tuple[Any, ...] = (rng.integers(0, 256, (*FRAME_HW, 3), np.uint8),)
    if teacher.READS == "waveform":
        sound = rng.normal(0, 3000, SOUND_S * RATE_HZ).astype(np.int16)
        clip = sound, len(sound) // 2

    def work(_: None) -> object:
        return network(np.stack([teacher.prepare(*clip) for _ in range(batch_size)]))

    return work


def main() -> None:
    """Measure and print."""
    chosen = options()
    pin_to_one_core()
    torch.set_num_threads(1)
    works = {name: worker(name, chosen.batch_size) for name in chosen.teachers}
    now = clock(cpu_time=chosen.cpu_time)
    seconds = interleave(works, [None], chosen.rounds, now)
    ms = {name: 1000 * typical(taken) / chosen.batch_size for name, taken in seconds.items()}
    rows = [(name, ms[name], 1000 / ms[name], _times(name, ms)) for name in ms]
    found = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "numpy"))
    text = "\n".join(
        [
            table(("teacher", "ms a clip", "clips a second", "x the papers'"), rows),
            f"one thread on one core of {cpu_name()}; {found}; random weights, batches of "
            f"{chosen.batch_size}, medians of {chosen.rounds} rounds, "
            f"{'CPU' if chosen.cpu_time else 'wall'} time",
            f"wanted: efficientat-mn04 >= {WANTED} x panns-cnn14",
        ]
    )
    figures = {"ms_a_clip": ms, "cpu": cpu_name(), "versions": found, "weights": RANDOM}
    headline = []
    if {FAST, SLOW} <= seconds.keys():
        times = ratio(seconds[SLOW], seconds[FAST])
        headline = [(f"`{FAST}` as fast as `{SLOW}`", f"{times} times", f">= {WANTED}")]
    report("teachers", figures, text, as_json=chosen.json, headline=headline)


def _times(name: str, ms: dict[str, float]) -> float | str:
    """Say how many clips pass in the time that the papers' network needs for one."""
    other = REFERENCES[load_teacher(name).READS]
    return ms[other] / ms[name] if other in ms else "-"


if __name__ == "__main__":
    main()
