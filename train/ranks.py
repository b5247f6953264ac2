"""Several processes that train one run together, as `torchrun` starts them.

Each holds its share of the clips and of every batch. Embeddings are gathered with their gradients,
so that every process sees the whole batch's loss; `DistributedDataParallel` averages gradients.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ..errors import UsageError
from .nets.model import Embeddings
from .nets.student import Student
from .recipe import Recipe


@dataclass(frozen=True)
class Ranks:
    """This process among those that train.

    Attributes:
        rank: Its number, from 0; number 0 writes files and speaks.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Return whether it is so in any process."""
        if self.size == 1:
            return flag
        found = torch.tensor(float(flag))
        dist.all_reduce(found)
        return bool(found)

    def mean(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each scalar's mean over the processes."""
        if self.size == 1:
            return values
        stacked = torch.stack(list(values.values()))
        dist.all_reduce(stacked)
        return dict(zip(values, stacked / self.size, strict=True))


def join_ranks(device: torch.device) -> tuple[Ranks, torch.device]:
    """Meet the other processes that `torchrun` started, if it did.

    Returns:
        This process among them, and its device: one GPU each.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # gloo beside nccl: what the CPU has to know at every step must not wait for the GPU
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), size), device


def share_norms(student: Student, recipe: Recipe, ranks: Ranks) -> Student:
    """Let batch norms see the whole batch, if the recipe wants it and there are several processes.

    Raises:
        UsageError: Without GPUs.
    """
    if recipe.batch_norm != "sync" or ranks.size == 1:
        return student
    if dist.get_backend() == "gloo":
        raise UsageError("batch_norm = 'sync' of several processes needs GPUs")
    synced: Student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
    return synced


def share_buffers(module: nn.Module) -> None:
    """Give every process the statistics of what leads, which alone loads weights.

    `DistributedDataParallel` does so with parameters; of buffers only if told to at every step.
    """
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)


def gather(embeddings: Embeddings, num_views: int, ranks: Ranks) -> Embeddings:
    """Return the embeddings of the whole batch, with gradients to every process.

    Features stay those of this process: what is made of them is a mean over clips, and the
    gradients' average over processes makes it one over all.

    Args:
        embeddings: Of this process, view after view.
        num_views: Views.
        ranks: The processes.
    """
    if ranks.size == 1:
        return embeddings

    def whole(heads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        gathered = (_gather(head, ranks) for head in heads)
        by_rank = (head.view(ranks.size, num_views, -1, *head.shape[1:]) for head in gathered)
        return tuple(head.transpose(0, 1).flatten(0, 2) for head in by_rank)

    visual, audio, pooled = (whole(heads) for heads in embeddings[:3])
    return embeddings._replace(visual=visual, audio=audio, pooled=pooled)


class _Gather(torch.autograd.Function):
    """All processes' tensors, one behind the other; each gets the sum of all gradients to its."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks, ctx.num = ranks, len(local)
        parts = [torch.empty_like(local, memory_format=torch.contiguous_format)
                 for _ in range(ranks.size)]  # fmt: skip
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.ranks.rank * ctx.num :][: ctx.num], None


_gather: Callable[[Tensor, Ranks], Tensor] = _Gather.apply
