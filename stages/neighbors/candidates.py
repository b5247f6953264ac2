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

MAPPED_BLOCK = 16_384
"""The same of a map on the CPU, a multiple of the 1,024 that FAISS multiplies at a time."""

SUM_BLOCK = 256
"""Products summed in one go on a GPU: long float32 sums in sequence lose the seventh digit."""

Candidates = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.int64]]]
"""From `(Q, d)` vectors and a count: scores `(Q, count)`, best first, and rows in the base.

A count above the number of base vectors fills up with row -1, below all scores.
"""


def candidates(base: NDArray[np.floating], device: str) -> Candidates:
    """Return the search among base vectors, `(M, d)`: FAISS on `cpu`, PyTorch on other devices."""
    return by_faiss(base) if device == "cpu" else by_torch(base, device)


def by_faiss(base: NDArray[np.floating]) -> Candidates:
    """Search with FAISS: exact, blocked on both sides by itself.

    What is not float32 becomes it block by block; blocks of FAISS's own size give its own scores.
    """
    faiss = load_faiss()

    def find(vectors: NDArray[np.float32], count: int) -> Any:
        if base.dtype == np.float32:
            return faiss.knn(vectors, base, count, faiss.METRIC_INNER_PRODUCT)
        best = np.full((len(vectors), count), -np.inf, np.float32)
        rows = np.full((len(vectors), count), -1, np.int64)
        for start in range(0, len(base), MAPPED_BLOCK):
            block = np.ascontiguousarray(base[start : start + MAPPED_BLOCK], np.float32)
            wanted = min(count, len(block))
            part, at = faiss.knn(vectors, block, wanted, faiss.METRIC_INNER_PRODUCT)
            best, rows = _merged(best, rows, part, at + start)
        return best, rows

    return find


def _merged(
    best: NDArray[np.float32],
    rows: NDArray[np.int64],
    part: NDArray[np.float32],
    others: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the best of two lists of candidates, as many as the first has, best first."""
    scores = np.concatenate([best, part], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : best.shape[1]]
    both = np.concatenate([rows, others], axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(both, order, 1)


def by_torch(
    base: NDArray[np.floating], device: str, is_resident: bool | None = None
) -> Candidates:
    """Search with PyTorch: products in full float32 (no TF32), the best of each block merged.

    Threads take turns there.

    Args:
        base: `(M, d)`.
        device: Where to multiply.
        is_resident: Whether the base moves there whole, or block by block for each search; None:
            whole where it takes less than half of what is free.
    """
    import torch

    resident = _fits(base, device) if is_resident is None else is_resident
    there = torch.from_numpy(_writable(base)).to(device).float() if resident else None
    turn = Lock()

    def block_of(start: int) -> torch.Tensor:
        if there is not None:
            return there[start : start + BASE_BLOCK]
        block = torch.from_numpy(_writable(base[start : start + BASE_BLOCK]))
        return block.to(device).float()

    def block_scores(vectors: torch.Tensor, start: int) -> torch.Tensor:
        block = block_of(start)
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
                for start in range(0, len(base), BASE_BLOCK):
                    part = block_scores(asked, start)
                    part, at = part.topk(min(count, part.shape[1]))
                    best, kept = torch.cat([best, part], dim=1).topk(count)
                    rows = torch.cat([rows, at + start], dim=1).gather(1, kept)
                return best.cpu().numpy(), rows.cpu().numpy()
            finally:
                torch.set_float32_matmul_precision(precision)

    return find


def _writable(base: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return an array that PyTorch can share: what is mapped for reading is copied."""
    return base if base.flags.writeable else np.array(base)


def _fits(base: NDArray[np.floating], device: str) -> bool:
    """Whether a device has room for all of the base twice."""
    import torch

    if not device.startswith("cuda"):
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * base.nbytes < free
