"""Parts of `gpu.py` that train: pace beside the plain implementations, precisions, resuming."""

from __future__ import annotations

import itertools
import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avpipe.cache.store import Cache
from avpipe.train.data.batches import DataMode
from avpipe.train.loop import train
from avpipe.train.recipe import Recipe, load_recipe
from avpipe.train.runs.checkpoint import latest_checkpoint
from avpipe.train.runs.journal import TrainProgress
from avpipe.weights import RANDOM
from common import Stopwatch
from gpu_parts import Part, Where
from our_trainer import OurTrainer, make_data
from plain import PlainTrainer
from safetensors.numpy import load_file

WARM_STEPS = 5
PLAIN_STEPS = 3
WANTED_WAITING = 0.03
WANTED_LOSS = 0.02
SAME = 1e-3
MODES: tuple[DataMode, ...] = ("resident", "stream")


def pace(where: Where, part: Part) -> None:
    """Train each recipe at its own batch, resident and streamed; two beside `plain.py`."""
    data = where.folder / "train"
    data.mkdir()
    make_data(data, where.sizes.num_rows, where.clips)
    for name in where.sizes.recipes:
        ours: dict[str, dict[str, float]] = {}
        for mode in MODES:
            ours[mode] = part.figures[f"{name}, {mode}"] = _our_pace(where, name, mode)
            one = ours[mode]
            part.add(f"train {name}, {mode}, batch {one['batch']:.0f}", _in_words(one))
            part.add(
                f"train {name}, {mode}: waiting for clips", f"{one['waiting']:.1%}",
                f"< {WANTED_WAITING:.0%}", one["waiting"] < WANTED_WAITING,
            )  # fmt: skip
        if name in where.sizes.plain:
            plain = part.figures[f"{name}, plain"] = _plain_pace(where, name)
            best = max(one["images_per_s"] for one in ours.values())
            part.add(
                f"train {name}, plain, float32, batch {plain['batch']:.0f}",
                f"{_in_words(plain)}; {plain['images_per_s_fed']:.0f} images/s if its data cost "
                f"nothing: avpipe is {best / plain['images_per_s']:.1f} times as fast, "
                f"{best / plain['images_per_s_fed']:.2f} times beside that",
            )


def _in_words(pace: dict[str, float]) -> str:
    step, rate, gib = pace["step_s"], pace["images_per_s"], pace["peak_gib"]
    return f"{rate:.0f} images/s, {1000 * step:.1f} ms a step, {gib:.1f} GiB"


def _our_pace(where: Where, name: str, mode: DataMode) -> dict[str, float]:
    """Time steps as a whole: on a GPU their parts overlap."""
    where.forget_memory()
    batch = load_recipe(name, where.sizes.changes).batch_size
    cache, changes = Cache(where.folder / "train" / "cache"), where.sizes.changes
    trainer = OurTrainer(name, cache, batch, where.device, mode, None, *changes)
    for _ in range(WARM_STEPS if where.is_gpu else 0):
        trainer.step(Stopwatch())
    where.wait()
    watch, began = Stopwatch(), time.perf_counter()
    for _ in range(where.sizes.steps):
        trainer.step(watch)
    where.wait()
    seconds = time.perf_counter() - began
    images = where.sizes.steps * batch * len(trainer.learner.plan.recipe.view_names)
    return {
        "batch": batch,
        "step_s": seconds / where.sizes.steps,
        "images_per_s": images / seconds,
        "waiting": watch.seconds["data"] / seconds,
        "peak_gib": where.peak_gib(),
    }


def _plain_pace(where: Where, name: str) -> dict[str, float]:
    """Time `plain.py` at our batch, or at the next half of it that fits on the device."""
    recipe = load_recipe(name, where.sizes.changes)
    batch = recipe.batch_size
    while True:
        where.forget_memory()
        try:
            seconds, data_s = _plain_steps(where, name, batch)
            break
        except torch.cuda.OutOfMemoryError:
            if batch < 2:
                raise
            batch //= 2
    images = batch * len(recipe.view_names)
    return {
        "batch": batch,
        "step_s": seconds,
        "images_per_s": images / seconds,
        "images_per_s_fed": images / (seconds - data_s),
        "peak_gib": where.peak_gib(),
    }


def _plain_steps(where: Where, name: str, batch: int) -> tuple[float, float]:
    """Seconds of a step, and of its data alone."""
    num_clips = where.sizes.num_rows
    trainer = PlainTrainer(name, where.folder / "train", num_clips, batch, str(where.device))
    if where.is_gpu:
        trainer.step(Stopwatch())
    where.wait()
    num_steps = min(PLAIN_STEPS, where.sizes.steps)
    watch, began = Stopwatch(), time.perf_counter()
    for _ in range(num_steps):
        trainer.step(watch)
    where.wait()
    return (time.perf_counter() - began) / num_steps, watch.seconds["data"] / num_steps


def precisions(where: Where, part: Part) -> None:
    """Train the same steps in bf16 and in float32; their losses must fall alike."""
    losses = {}
    for precision in ("bf16", "fp32"):
        cache = Cache(where.folder / "train" / "cache")
        trainer = OurTrainer(
            "slavc", cache, where.sizes.batch, where.device, "resident", None,
            *where.sizes.changes, f"precision={precision}",
        )  # fmt: skip
        values = [
            trainer.learner.learn(step, next(trainer.batches))["loss"]
            for step in range(where.sizes.loss_steps)
        ]
        losses[precision] = torch.stack(values).double().cpu().numpy()
        del trainer
        where.forget_memory()
    last = max(1, where.sizes.loss_steps // 10)
    ends = {precision: float(loss[-last:].mean()) for precision, loss in losses.items()}
    apart = abs(ends["bf16"] - ends["fp32"]) / abs(ends["fp32"])
    first = abs(losses["bf16"][0] - losses["fp32"][0]) / abs(losses["fp32"][0])
    finite = all(np.isfinite(loss).all() for loss in losses.values())
    part.figures = {name: loss.round(5).tolist() for name, loss in losses.items()}
    part.add(
        f"slavc, {where.sizes.loss_steps} steps, bf16 against float32: mean loss of the last "
        f"{last}, apart",
        f"{ends['bf16']:.4f} and {ends['fp32']:.4f}, {apart:.2%} (first step {first:.3%})",
        f"< {WANTED_LOSS:.0%}",
        bool(finite and apart < WANTED_LOSS),
    )


def resuming(where: Where, part: Part) -> None:
    """Stop a run and resume it: it must end as one that was not, to what the GPU repeats."""
    recipe = replace(
        load_recipe("slavc", where.sizes.changes),
        batch_size=where.sizes.batch, epochs=where.sizes.resumed_epochs, image_init="scratch",
    )  # fmt: skip
    whole, again, stopped = (_trained(where, recipe, name) for name in ("whole", "again", "part"))
    figures = {"resumed": _apart(whole, stopped), "the same twice": _apart(whole, again)}
    part.figures = figures
    resumed = figures["resumed"]
    part.add(
        f"resumed against not stopped, after {whole['steps']} steps: losses, weights apart",
        f"{resumed['losses']:.1e}, {resumed['weights']:.1e} "
        f"(one run twice: {figures['the same twice']['weights']:.1e})",
        f"{SAME:.0e}",
        bool(stopped["was_stopped"]) and max(resumed.values()) <= SAME,
    )


def _trained(where: Where, recipe: Recipe, name: str) -> dict[str, Any]:
    """Train a run to its end; the one called `part` is stopped on its way, and resumed."""
    cache, folder = Cache(where.folder / "train" / "cache"), where.folder / "runs" / name
    stopped = False

    def stop(at: TrainProgress) -> None:
        nonlocal stopped
        if not stopped and at.step < at.num_steps:
            stopped = True
            signal.raise_signal(signal.SIGINT)

    def run(first: bool) -> int:
        return train(
            cache, recipe, folder, device=str(where.device), weights=[RANDOM],
            progress=stop if first else None,
        ).num_steps  # fmt: skip

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background
    try:
        steps = run(name == "part")
    except KeyboardInterrupt:
        steps = run(first=False)
    where.forget_memory()
    found = latest_checkpoint(folder)
    assert found is not None
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = {line["step"]: line["loss"] for line in map(json.loads, lines)}
    weights = load_file(_weights_of(folder, steps))
    return {"steps": steps, "losses": losses, "weights": weights, "was_stopped": stopped}


def _weights_of(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"{step:08d}" / "weights.safetensors"


def _apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """How far two runs are apart, relative: their last losses, and their weights by tensor."""
    steps = sorted(one["losses"].keys() & other["losses"].keys())[-3:]
    losses = (abs(one["losses"][s] - other["losses"][s]) / abs(one["losses"][s]) for s in steps)
    pairs = ((one["weights"][name], other["weights"][name]) for name in one["weights"])
    floats = ((a.astype(float), b.astype(float)) for a, b in pairs)
    gaps = (np.linalg.norm(a - b) / (np.linalg.norm(a) or 1) for a, b in floats)
    return {"losses": max(losses), "weights": float(max(itertools.chain([0.0], gaps)))}
