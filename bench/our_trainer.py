"""The trainer as `avpipe train` runs it, for benches to step, and the data that it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from avpipe.cache.schema import Header, shard_path
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.stages.features import make_row
from avpipe.stages.neighbors.cluster import cluster
from avpipe.stages.neighbors.run import neighbors
from avpipe.train import learner as learner_module
from avpipe.train.data.batches import Batch, DataMode
from avpipe.train.data.columns import find_inputs, reduced
from avpipe.train.data.feed import open_feed
from avpipe.train.data.standard import standard_hints
from avpipe.train.learner import Learner, build_student
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import load_recipe
from avpipe.train.schedule import Plan
from common import Stopwatch
from loader import write_files
from read import make_cache

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
