"""The networks with their optimizer: one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .data.augment import Views, training_views
from .data.bank import Bank
from .data.batches import Batch
from .data.columns import Inputs
from .data.features import Cells
from .device import compute_dtype
from .nets.hints import hint_heads, hint_terms
from .nets.model import build_model, without_made
from .nets.student import Student
from .objectives import Objective, Seen
from .ranks import Ranks, gather, share_buffers
from .recipe import Recipe
from .schedule import Plan


def build_student(recipe: Recipe, objective: Objective, seed: int, inputs: Inputs) -> Student:
    """Build what is trained, with weights drawn from `seed`."""
    model = build_model(recipe, objective.NEEDS, seed, inputs.cached)
    heads: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if of := objective.NEEDS.classes_of:
            encoder = model.image_encoder if of == "objects" else model.audio_encoder
            heads[of] = nn.Linear(encoder.num_features, inputs.num_classes)
        width = recipe.embed_dim
        if recipe.projection == "none":
            width = model.audio_encoder.num_features
        shapes = {name: inputs.columns[name].shape for name in recipe.hint_names}
        heads.update(hint_heads(width, shapes))
    return Student(model, recipe, heads)


class Losses(nn.Module):
    """From a batch's views to its loss: what every process computes for its share."""

    def __init__(
        self, student: Student, objective: Objective, recipe: Recipe, ranks: Ranks, bf16: bool
    ) -> None:
        """Keep the networks; `bf16` is of the encoders, losses are always float32."""
        super().__init__()
        self.student = student
        self._objective, self._recipe, self._ranks = objective, recipe, ranks
        self._bf16 = bf16

    def forward(self, views: Views) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted loss of a batch, and its unweighted terms."""
        student, recipe = self.student, self._recipe
        sounds, num_made = views.spectrograms, 0
        if views.made is not None:
            sounds, num_made = torch.cat([sounds, views.made]), len(views.made)
        with self.autocast(sounds.device):
            own, made = without_made(student.online(views.frames, sounds), num_made)
            slow = student.embed_momentum(views.frames, sounds)
        if slow:
            slow, made = without_made(slow, num_made)
        online, target = own, slow or own
        if not self._objective.NEEDS.classes_of:  # a contrast is with all of the batch
            online = gather(own, views.num_views, self._ranks)
            target = gather(slow, views.num_views, self._ranks) if slow else online
        seen = Seen(online, target, views.num_views, views.labels, student.heads, made)
        terms = self._objective.terms(seen, recipe)
        terms |= hint_terms(own.projected, views.hints, student.heads, recipe)
        return self.weigh(terms), terms

    @torch.no_grad()
    def tested(self, views: Views) -> dict[str, Tensor]:
        """Return loss and terms of whole clips with the weights that localize."""
        network = self.student.tested().eval()
        with self.autocast(views.spectrograms.device):
            embedded = network(views.frames, views.spectrograms)
        network.train()
        seen = Seen(embedded, embedded, 1, None, self.student.heads)
        terms = self._objective.terms(seen, self._recipe)
        return {"loss": self.weigh(terms), **terms}

    def weigh(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the loss: the sum of the terms, each times its weight in the recipe."""
        weights = self._recipe.weights
        return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()

    def autocast(self, device: torch.device) -> torch.autocast:
        """Let the encoders compute in bf16 if they are to."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self._bf16)


class Learner:
    """The networks with their optimizer."""

    def __init__(
        self,
        plan: Plan,
        objective: Objective,
        student: Student,
        device: torch.device,
        ranks: Ranks | None = None,
        hint_cells: Cells = "corners",
        bank: Bank | None = None,
    ) -> None:
        """Set the optimizer up for what the student trains.

        Args:
            plan: The run's steps.
            objective: What is learnt.
            student: The networks, on the device.
            device: Where they are.
            ranks: The processes that train; None for one.
            hint_cells: Where the cells of visual hints lie.
            bank: Sounds of no clip, where the objective wants some.
        """
        self.bank = bank
        self.plan, self.student, self.device = plan, student, device
        self.ranks = ranks or Ranks()
        self.bf16 = compute_dtype(plan.recipe.precision, device) == torch.bfloat16
        size = plan.recipe.image_size
        self._hint_cells: Cells = hint_cells
        cached = getattr(student.online.image_encoder, "cached", None)
        self._feature_cells: Cells = cached.cells if cached else "corners"
        self._cells = (student.online.image_encoder.cell_centres(size) + 0.5) / size
        self.losses = Losses(student, objective, plan.recipe, self.ranks, self.bf16)
        self._forward: nn.Module = self.losses
        if self.ranks.size > 1:
            share_buffers(student)
            self._forward = DistributedDataParallel(self.losses, broadcast_buffers=False)
        kind = torch.optim.AdamW if plan.recipe.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            student.trained(),
            lr=plan.recipe.lr,
            weight_decay=plan.recipe.weight_decay,
            fused=True,
        )

    def learn(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Learn from one batch; return its loss and unweighted terms, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate(step)
        rng = self.plan.rng(step)
        torch.manual_seed(int(rng.integers(1 << 62)))  # of dropout
        views = training_views(
            batch,
            self.plan.recipe,
            rng,
            self.device,
            self._cells,
            self._hint_cells,
            self._feature_cells,
        )
        if self.bank:
            views = replace(views, made=self.bank.draw(rng))
        self.student.update_momentum()
        values = self.backward(views)
        self.optimizer.step()
        self.student.update_ema(step)
        return values

    def backward(self, views: Views) -> dict[str, Tensor]:
        """Set the gradients of a batch; return its loss and terms, means over all processes."""
        loss, terms = self._forward(views)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        values = {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}
        return self.ranks.mean(values)
