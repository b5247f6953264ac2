"""Where neighbours are looked for: the vectors of highest float32 score, found on CPU or GPU."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .faiss_kernel import load_faiss

BASE_BLOCK = 65_536
"""Vectors scored at a time on a GPU; FAISS has blocks of its own."""

SUM_BLOCK = 256
"""Products summed in one go on a GPU: long float32 sums in sequence lose the seventh digit."""

Candidates = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.int64]]]
"""From `(Q, d)` vectors and a count: scores `(Q, count)`, best first, and rows in the base.

A count above the number of base vectors fills up with row -1, below all scores.
"""


def candidates(base: NDArray[np.float32], device: str) -> Candidates:
    """Return the search among base vectors, `(M, d)`: FAISS on `cpu`, PyTorch on other devices."""
    return by_faiss(base) if device == "cpu" else by_torch(base, device)


def by_faiss(base: NDArray[np.float32]) -> Candidates:
    """Search with FAISS: exact, blocked on both sides by itself."""
    faiss = load_faiss()

    def find(vectors: NDArray[np.float32], count: int) -> Any:
        return faiss.knn(vectors, base, count, faiss.METRIC_INNER_PRODUCT)

    return find


def by_torch(base: NDArray[np.float32], device: str) -> Candidates:
    """Search with PyTorch: products in full float32 (no TF32), the best of each block merged.

    The base moves to the device whole. Threads take turns there.
    """
    import torch

    there = torch.from_numpy(base).to(device)
    turn = Lock()

    def block_scores(vectors: torch.Tensor, start: int) -> torch.Tensor:
        block = there[start : start + BASE_BLOCK]
        scores = vectors.new_zeros(len(vectors), len(block))
        for first in range(0, block.shape[1], SUM_BLOCK):
            part = slice(first, first + SUM_BLOCK)
            scores.addmm_(vectors[:, part], block[:, part].T)
        return scores

    def find(
        vectors: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        with turn, torch.inference_mode():
            precision = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                asked = torch.from_numpy(vectors).to(device)
                best = asked.new_full((len(asked), count), -torch.inf)
                rows = torch.full_like(best, -1, dtype=torch.int64)
                for start in range(0, len(there), BASE_BLOCK):
                    part = block_scores(asked, start)
                    part, at = part.topk(min(count, part.shape[1]))
                    best, kept = torch.cat([best, part], dim=1).topk(count)
                    rows = torch.cat([rows, at + start], dim=1).gather(1, kept)
                return best.cpu().numpy(), rows.cpu().numpy()
            finally:
                torch.set_float32_matmul_precision(precision)

    return find
