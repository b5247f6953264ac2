"""Seconds per training step, by recipe and part, beside plain implementations of two papers.

The trainer and a plain implementation (`plain.py`) are two processes on one core with one thread,
each with its own allocator's settings; they step in turn. All recipes have the papers' sizes:
crops of 224, spectrograms 257 x 276, width 64; with three views the batch is an eighth. Losses of
both kinds are compared first. Peak memory is the process's, so it never falls from row to row.

`gpu.py` measures the same on a GPU.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from avpipe.cache.schema import Header, shard_path
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.stages.features import make_row
from avpipe.stages.neighbors.cluster import cluster
from avpipe.stages.neighbors.run import neighbors
from avpipe.train import learner as learner_module
from avpipe.train.data.augment import Views, training_views
from avpipe.train.data.batches import Batch, DataMode
from avpipe.train.data.columns import find_inputs, reduced
from avpipe.train.data.feed import open_feed
from avpipe.train.data.standard import standard_hints
from avpipe.train.device import keep_freed_memory
from avpipe.train.learner import Learner, build_student
from avpipe.train.nets.model import AudioVisualModel
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import load_recipe
from avpipe.train.schedule import Plan
from clips import bench_clips
from common import Stopwatch, add_clock, clock, parser, pin_to_one_core, report, table
from loader import write_files
from plain import MODELS, Encoders, MultiPositive, PlainTrainer, Slavc
from read import make_cache
from torch import Tensor

RECIPES = "slavc", "multi-positive", "ez-vsl", "lvs", "distill", "best", "spm-audio", "spm"
PARTS = "data", "forward", "loss", "backward", "optimizer", "EMA", "rest"
WANTED = {"slavc": 2.2, "multi-positive": 4.0}
OURS, PLAIN, STEP = "avpipe", "plain", "step"
CPU = torch.device("cpu")
_WIDTHS = {  # what the recipes read beside clips: random values of the real shapes
    "hints/panns-wavegram": (2048,),
    "hints/detr-r50": (2048, 7, 7),
    "embeddings/imagenet-resnet18": (512,),
    "embeddings/vggsound-resnet18": (512,),
}


def make_data(folder: Path, num_clips: int, clips: Sequence[Path]) -> None:
    """Write clips twice: as a cache with all that recipes read, and as files for `plain`."""
    rows = [make_row(str(clip)) for clip in clips]
    write_files(folder, rows, num_clips)
    for row in rows:
        row["waveform"] = row["waveform"][:0]
    (folder / "cache").mkdir()
    cache = make_cache(folder / "cache", rows, num_clips)
    rng = np.random.default_rng(0)
    for stage, width in _WIDTHS.items():
        for number in range(cache.manifest.num_shards):
            shard_rows = cache.shard("extract", number).rows
            num = len(shard_rows)
            value = rng.standard_normal((num, *width), np.float32).astype(np.float16)
            header = Header(stage, 1, number, {}, {}, n=num, done=num, weights="random")
            columns = {"row": Rows.array(shard_rows), "value": Rows.array(value)}
            write_shard(shard_path(cache.path, stage, number), header, columns)
    for encoder in ("imagenet-resnet18", "vggsound-resnet18"):
        neighbors(cache, encoder, num_clips // 2)
    cluster(cache, "vggsound-resnet18", 11)


class OurTrainer:
    """The trainer as `avpipe train` runs it, without its files."""

    def __init__(
        self, name: str, cache: Cache, batch_size: int, device: torch.device, mode: DataMode,
        workers: int | None, *overrides: str,
    ) -> None:  # fmt: skip
        """Build networks and feed; random weights stand in for pretrained ones."""
        recipe = load_recipe(name, [f"batch_size={batch_size}", "epochs=100000", *overrides])
        recipe = dataclasses.replace(recipe, num_neighbors=len(cache.rows) // 2)
        objective = load_objective(recipe.objective)
        inputs = find_inputs(cache, cache.rows, recipe, objective.NEEDS)
        plan = Plan(recipe, 0, len(cache.rows), batch_size)
        student = build_student(recipe, objective, 0, inputs).to(device).train()
        self.learner = Learner(plan, objective, student, device)
        columns = reduced(inputs.columns, student.online)
        if recipe.hint_scale == "standard":
            columns = standard_hints(cache, cache.rows, columns, recipe.hint_names)
        feed, _ = open_feed(
            cache, cache.rows, plan, objective.NEEDS, inputs, columns,
            mode=mode, device=device, workers=workers,
        )  # fmt: skip
        self.batches: Iterator[Batch] = feed(0)
        self._num_steps = 0

    def step(self, watch: Stopwatch) -> None:
        """Learn from the next batch."""
        with watch.part("data"):
            batch = next(self.batches)
        values = self.learner.learn(self._num_steps, batch)
        self._num_steps += 1
        assert self.learner.device.type == "cuda" or bool(torch.isfinite(values["loss"]))

    def split(self, watch: Stopwatch) -> None:
        """Let the watch see the parts of every step from now on."""
        student = self.learner.student
        watch.watch(learner_module, "training_views", "data")
        watch.watch(student.online, "forward", "forward")
        watch.watch(student, "embed_momentum", "forward")
        watch.watch(self.learner.losses, "forward", "loss")
        watch.watch(torch.autograd, "backward", "backward")
        watch.watch(self.learner.optimizer, "step", "optimizer")
        watch.watch(student, "update_momentum", "EMA")
        watch.watch(student, "update_ema", "EMA")


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
            pairs = zip(taken[PLAIN][1:], taken[OURS][1:], strict=True)
            found[f"{name}, {OURS}"]["times"] = median(a["step"] / b["step"] for a, b in pairs)
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
         f"{of['peak_gib']:.1f}", f"{of['times']:.2f}" if "times" in of else "")
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
    report("train", figures, f"{about}\n\n{in_words(cpu)}",
           as_json=arguments.json)  # fmt: skip


if __name__ == "__main__":
    main()
