"""What a step of a small network consists of, and what could make it faster on a CPU.

The recipe `compact` on noise: operations and parallel regions of a step, then steps per second as
trained, without channels-last, and compiled by `torch.compile`, with one thread and with all, in
turn. What compiling takes before the first step is counted apart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from avpipe.machine import granted_cores
from avpipe.train.data.batches import Batch
from avpipe.train.data.columns import Inputs
from avpipe.train.device import keep_freed_memory
from avpipe.train.learner import Learner, build_student
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import load_recipe
from avpipe.train.rehearsal import noise_batch
from avpipe.train.schedule import Plan
from common import parser, ratio, report, table
from torch.utils._python_dispatch import TorchDispatchMode

RECIPE = "compact"
CPU = torch.device("cpu")
AS_TRAINED, CONTIGUOUS, COMPILED = "as trained", "without channels-last", "compiled"
WAYS = AS_TRAINED, CONTIGUOUS, COMPILED
GRAIN = 32_768
"""PyTorch hands an operation of more elements than this to several threads (`GRAIN_SIZE`)."""
PRODUCTS = ("convolution", "addmm", "mm", "bmm")
"""Operations whose library always divides them among threads."""


class Regions(TorchDispatchMode):
    """Counts the operations of a step, and those that several threads may share."""

    def __init__(self) -> None:
        """Begin at none."""
        super().__init__()
        self.all: Counter[str] = Counter()
        self.parallel: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = [one for one in (*args, result) if isinstance(one, torch.Tensor)]
        if func.is_view or not given:
            return result
        self.all[name] += 1
        large = max(one.numel() for one in given) > GRAIN
        if large or name.removesuffix("_backward") in PRODUCTS:
            self.parallel[name] += 1
        return result


def make_learner(way: str) -> Learner:
    """Build the recipe's learner, changed as a way says."""
    recipe = load_recipe(RECIPE)
    objective = load_objective(recipe.objective)
    student = build_student(recipe, objective, 0, Inputs()).train()
    for encoder in (student.online.image_encoder, student.online.audio_encoder):
        if way == CONTIGUOUS:
            encoder.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
        if way == COMPILED:
            encoder.compile()
    if way == CONTIGUOUS:
        student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    plan = Plan(recipe, 0, recipe.batch_size, recipe.batch_size)
    return Learner(plan, objective, student, CPU)


def stepper(way: str, batch: Batch) -> Callable[[], None]:
    """Return what does a step."""
    learner = make_learner(way)

    def step() -> None:
        float(learner.learn(0, batch)["loss"])

    return step


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=24, help="of each way, in turn")
    arguments = options.parse_args()
    keep_freed_memory()
    batch, begun, steps = noise_batch(load_recipe(RECIPE)), {}, {}
    for way in WAYS:
        steps[way] = stepper(way, batch)
        began = time.perf_counter()
        steps[way]()
        begun[way] = time.perf_counter() - began
    with Regions() as regions:
        stepper(AS_TRAINED, batch)()
    rows = [(way, threads) for threads in sorted({1, granted_cores()}) for way in WAYS]
    taken: dict[tuple[str, int], list[float]] = {row: [] for row in rows}
    for turn in range(arguments.steps + 1):
        for way, threads in rows:
            torch.set_num_threads(threads)
            began = time.perf_counter()
            steps[way]()
            if turn:  # the first warms up
                taken[way, threads].append(time.perf_counter() - began)
    base = taken[AS_TRAINED, 1]
    times = {row: ratio(base, taken[row]) for row in rows}
    num_all, num_parallel = regions.all.total(), regions.parallel.total()
    body = [
        (way, threads, 1 / median(taken[way, threads]), str(times[way, threads]), begun[way])
        for way, threads in rows
    ]
    most = ", ".join(f"{name} {count}" for name, count in regions.parallel.most_common(6))
    text = (
        f"recipe {RECIPE}, {arguments.steps} steps of each in turn, on noise\n\n"
        + table(("way", "threads", "steps/s", "times as fast", "first step s"), body)
        + f"\n\na step has {num_all} operations, of which {num_parallel} are shared among threads "
        f"where there are several:\n{most}, ..."
    )
    figures = {
        "operations": num_all,
        "parallel": dict(regions.parallel),
        "seconds": {f"{way}, {threads}": taken[way, threads] for way, threads in rows},
        "first_step_s": begun,
        "times": {f"{way}, {threads}": asdict(one) for (way, threads), one in times.items()},
    }
    headline = [
        (f"recipe {RECIPE}, {way}, threads: {threads}",
         f"{1 / median(taken[way, threads]):.2f} steps/s", "")
        for way, threads in rows
    ]  # fmt: skip
    report("compact", figures, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
