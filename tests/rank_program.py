"""One of several processes that learn together; started by test_ranks with torchrun's variables."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from avpipe.cache.store import Cache
from avpipe.train.data.augment import Views
from avpipe.train.data.columns import BatchColumn, Inputs
from avpipe.train.learner import Learner, build_student
from avpipe.train.loop import train
from avpipe.train.objectives import load_objective
from avpipe.train.ranks import join_ranks
from avpipe.train.recipe import Recipe, recipe_from
from avpipe.train.schedule import Plan
from torch import Tensor

CLIPS = 6


def gradients(recipe: Recipe, rank: int = 0, size: int = 1) -> dict[str, Tensor]:
    """Return loss, terms and gradients of one batch, of this process's share of its clips."""
    ranks, device = join_ranks(torch.device("cpu"))
    assert (ranks.rank, ranks.size) == (rank, size)
    objective = load_objective(recipe.objective)
    columns = {
        "audio_hint": BatchColumn("a", "value", False, (12,)),
        "visual_hint": BatchColumn("v", "value", True, (12, 3, 3)),
    }
    inputs = Inputs({name: columns[name] for name in recipe.hint_names}, num_classes=3)
    student = build_student(recipe, objective, 0, inputs).train()
    if ranks.leads:  # loaded weights bring statistics, and only this process loads any
        for statistic in student.buffers():
            statistic.add_(1)
    plan = Plan(recipe, 0, CLIPS, CLIPS, rank, size)
    learner = Learner(plan, objective, student, device, ranks)
    views = share_of_views(recipe, rank, size)
    if objective.NEEDS.made:  # silence and two noises, which all processes draw alike
        views = replace(views, made=torch.rand(3, 1, 64, 64))
    found = learner.backward(views)
    for name, parameter in student.online.named_parameters():
        if parameter.grad is not None:
            found[name] = parameter.grad
    return found


def share_of_views(recipe: Recipe, rank: int, size: int) -> Views:
    """Return every `size`-th clip of a batch, with all its views."""
    torch.manual_seed(3)
    num_views = len(recipe.view_names)
    frames = torch.rand(num_views, CLIPS, 3, 64, 64)
    sounds = torch.rand(num_views, CLIPS, 1, 64, 64)
    hints = {"audio_hint": torch.rand(CLIPS, 12), "visual_hint": torch.rand(CLIPS, 12, 3, 3)}
    return Views(
        frames[:, rank::size].flatten(0, 1),
        sounds[:, rank::size].flatten(0, 1),
        num_views,
        {name: hints[name][rank::size] for name in recipe.hint_names},
        torch.arange(CLIPS)[rank::size] % 3,
    )


def main(task: dict[str, Any], rank: int, size: int) -> None:
    torch.set_num_threads(1)
    out = Path(task["out"])
    if "recipes" in task:
        for name, values in task["recipes"].items():
            torch.save(gradients(recipe_from(values), rank, size), out / f"{name}{rank}.pt")
        return
    told: list[str] = []
    result = train(
        Cache(task["cache"]), recipe_from(task["recipe"]), out / "run",
        device="cpu", notify=told.append, checkpoint_every_s=task["every"],
    )  # fmt: skip
    facts = {"steps": result.num_steps, "first": result.first_step, "told": told}
    (out / f"{rank}.json").write_text(json.dumps(facts))


def run() -> None:
    """Do what the command line says, as the rank that the variables name."""
    main(json.loads(sys.argv[1]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
