"""Seconds per training step, by recipe and part, beside plain implementations of two papers.

The trainer and a plain implementation (`plain.py`) are two processes on one core with one thread,
each with its own allocator's settings; they step in turn. All recipes have the papers' sizes:
crops of 224, spectrograms 257 x 276, width 64; with three views the batch is an eighth. Losses of
both kinds are compared first. Peak memory is the process's, so it never falls from row to row.

`gpu.py` measures the same on a GPU.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from avpipe.cache.store import Cache
from avpipe.train.data.augment import Views, training_views
from avpipe.train.device import keep_freed_memory
from avpipe.train.nets.model import AudioVisualModel
from avpipe.train.recipe import load_recipe
from clips import bench_clips
from common import Stopwatch, add_clock, clock, parser, pin_to_one_core, ratio, report, table
from our_trainer import OurTrainer, make_data
from plain import MODELS, Encoders, MultiPositive, PlainTrainer, Slavc
from torch import Tensor

RECIPES = "slavc", "multi-positive", "ez-vsl", "lvs", "distill", "best", "spm-audio", "spm"
PARTS = "data", "forward", "loss", "backward", "optimizer", "EMA", "rest"
WANTED = {"slavc": 2.2, "multi-positive": 4.0}
OURS, PLAIN, STEP = "avpipe", "plain", "step"
CPU = torch.device("cpu")


def serve(pipe: Connection, kind: str, folder: Path, num_clips: int, cpu_time: bool) -> None:
    """One of two processes: builds the trainer it is asked for, or lets it step; None ends it."""
    torch.set_num_threads(1)
    pin_to_one_core()
    trainer: OurTrainer | PlainTrainer | None = None
    watch = Stopwatch(clock(cpu_time=cpu_time))
    if kind == OURS:
        keep_freed_memory()  # as `avpipe train` does; what nobody knows of, `plain` does not do
    while asked := pipe.recv():
        if asked == STEP:
            assert trainer is not None
            watch.seconds.clear()
            with watch.part("rest"):
                trainer.step(watch)
            pipe.send((dict(watch.seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        else:
            name, batch_size = asked
            trainer = None  # frees its memory before the next is built
            if kind == OURS:
                cache = Cache(folder / "cache")
                trainer = OurTrainer(name, cache, batch_size, CPU, "stream", 1)
                trainer.split(watch)
            else:
                trainer = PlainTrainer(name, folder, num_clips, batch_size)
            pipe.send(None)


def on_cpu(
    folder: Path, num_clips: int, batch_size: int, rounds: int, recipes: list[str], cpu_time: bool
) -> dict[str, dict[str, Any]]:
    """Time the steps of every recipe, ours and the plain ones in turn; medians by part."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for kind in (OURS, PLAIN):
        pipes[kind], other = context.Pipe()
        arguments = other, kind, folder, num_clips, cpu_time
        context.Process(target=serve, args=arguments, daemon=True).start()
    found: dict[str, dict[str, Any]] = {}
    for name in recipes:
        num_views = len(load_recipe(name).view_names)
        size = batch_size if num_views == 1 else max(2, batch_size // 8)
        kinds = [kind for kind in (OURS, PLAIN) if kind == OURS or name in MODELS]
        taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for kind in kinds:
            _ask(pipes[kind], (name, size))
        for turn in range(rounds + 1):
            for kind in kinds[:: 1 if turn % 2 else -1]:
                parts, peak_kib = _ask(pipes[kind], STEP)
                total = sum(parts.values())
                taken[kind].append({**parts, "step": total, "peak_gib": peak_kib / 2**20})
        for kind, steps in taken.items():
            found[f"{name}, {kind}"] = {"batch": size} | {
                part: median(step.get(part, 0.0) for step in steps[1:])  # the first warms up
                for part in ("step", *PARTS, "peak_gib")
            }
        if PLAIN in taken:
            plain, ours = ([step["step"] for step in taken[kind][1:]] for kind in (PLAIN, OURS))
            found[f"{name}, {OURS}"]["times"] = str(ratio(plain, ours))
    for pipe in pipes.values():
        pipe.send(None)
    return found


def _ask(pipe: Connection, what: Any) -> Any:
    pipe.send(what)
    return pipe.recv()


@torch.no_grad()
def check(cache: Cache, name: str) -> None:
    """See that the plain loss is ours: same weights, same views, norms and dropout as at test."""
    trainer = OurTrainer(name, cache, 3, CPU, "stream", 1, "precision=fp32")
    learner, batch = trainer.learner, next(trainer.batches)
    views: Views = training_views(batch, learner.plan.recipe, np.random.default_rng(0), CPU)
    learner.student.eval()
    ours, _ = learner.losses(views)
    model = MODELS[name]().eval()
    student = learner.student
    if isinstance(model, Slavc):
        assert student.momentum is not None
        sides = (model.online, student.online), (model.momentum, student.momentum)
        for plain, mine in sides:
            encoders = plain["encoders"]
            assert isinstance(encoders, Encoders)
            _copy_encoders(encoders, mine)
            for number, which in enumerate("12"):
                plain["img_proj" + which].load_state_dict(mine.image_heads[number].state_dict())
                plain["aud_proj" + which].load_state_dict(mine.audio_heads[number].state_dict())
    elif isinstance(model, MultiPositive):
        _copy_encoders(model.encoders, student.online)
        heads = zip((model.p_v, model.p_a), student.online.pooled_heads, strict=True)
        for plain_head, head in heads:
            plain_head.load_state_dict(head.state_dict())
    both: list[list[Tensor]] = [
        list(of.chunk(views.num_views)) for of in (views.frames, views.spectrograms)
    ]
    theirs = model.loss((both[0], both[1]), Stopwatch())
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def _copy_encoders(plain: Encoders, mine: AudioVisualModel) -> None:
    plain.imgnet.load_state_dict(mine.image_encoder.state_dict())
    plain.audnet.load_state_dict(mine.audio_encoder.state_dict())


def in_words(cpu: dict[str, dict[str, Any]]) -> str:
    """The table of what was measured."""
    body = [
        (name, of["batch"], *(f"{of[part]:.3f}" for part in ("step", *PARTS)),
         f"{of['peak_gib']:.1f}", of.get("times", ""))
        for name, of in cpu.items()
    ]  # fmt: skip
    text = table(("seconds", "batch", "step", *PARTS, "peak GiB", "x plain"), body)
    wanted = ", ".join(f"{name} >= {times} x plain" for name, times in WANTED.items())
    return f"{text}\n\nwanted: {wanted}"


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_clock(options)
    options.add_argument("--batch", type=int, default=16, help="clips in a batch on the CPU")
    options.add_argument("--rounds", type=int, default=3, help="steps that are counted")
    options.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="NAME")
    arguments = options.parse_args()
    num_clips = max(4 * arguments.batch, 64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, num_clips, bench_clips())
        cache = Cache(folder / "cache")
        for compared in set(arguments.recipes).intersection(MODELS):
            check(cache, compared)
        cpu = on_cpu(
            folder, num_clips, arguments.batch, arguments.rounds, arguments.recipes,
            arguments.cpu_time,
        )  # fmt: skip
    counted = "CPU time" if arguments.cpu_time else "wall time"
    about = f"one thread on one core, {counted}, medians of {arguments.rounds} steps"
    figures = {"cpu": cpu, "counted": counted}
    headline = [
        (f"{name} against plain", f"{times} times as fast", f">= {WANTED[name]}")
        for name in WANTED
        if (times := cpu.get(f"{name}, {OURS}", {}).get("times"))
    ]
    text = f"{about}\n\n{in_words(cpu)}"
    report("train", figures, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
