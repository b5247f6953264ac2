"""Exact nearest neighbours by cosine: a float32 search finds, float64 settles ties."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .candidates import Candidates, candidates
from .faiss_kernel import load_faiss

QUERY_BLOCK = 256
"""Vectors whose neighbours are searched at a time, by one thread."""

NEAR = 1e-6
"""Identical vectors score differently in float32, by less than this: such pairs are settled."""

EQUAL = 1e-7
"""Scores no further apart, once computed in float64, are equal: float32 cannot tell them apart."""

_SPARE = 8  # candidates beyond those asked for: ties at the end are seen, and mostly settled
_NORM_ROWS = 8192
_EXACT_VALUES = 1 << 18  # at a time: 2 MiB, which a core's cache holds

Queries = range | NDArray[np.int64]
"""Vectors whose neighbours are searched at a time."""

NearestRows = tuple[NDArray[np.int32], NDArray[np.float32]]


def unit_vectors(embeddings: NDArray[Any]) -> NDArray[np.float32]:
    """Return `(N, d)` vectors divided by their length; zero vectors stay zero.

    Raises:
        ValueError: If one holds NaN or infinity; its row is named.
    """
    unit = np.empty(embeddings.shape, np.float32)
    for start in range(0, len(unit), _NORM_ROWS):
        block = embeddings[start : start + _NORM_ROWS].astype(np.float64)
        length = np.sqrt(np.einsum("nd,nd->n", block, block))
        if len(bad := np.flatnonzero(~np.isfinite(length))):
            raise ValueError(f"the embedding of row {start + bad[0]} holds NaN or infinity")
        unit[start : start + _NORM_ROWS] = block / np.where(length == 0, 1, length)[:, None]
    return unit


def knn(
    embeddings: ArrayLike, k: int, *, exclude: ArrayLike | None = None, device: str = "cpu"
) -> NearestRows:
    """Find the k nearest other vectors of every vector, by cosine, exactly.

    Multi-positive alignment (Senocak et al. 2023) draws its positives from them, k = 1000.

    Args:
        embeddings: `(N, d)`. A zero vector has cosine 0 with all.
        k: Neighbours wanted; no more than N - 1 are given.
        exclude: Vectors that may not be neighbours: a mask `(N,)`, or their rows. They still get
            neighbours of their own.
        device: `cpu`, or where PyTorch is to multiply, for example `cuda`.

    Returns:
        Rows `(N, min(k, N - 1))` int32 by descending cosine, of equal ones the lower row first,
        never the vector itself, -1 where there are no more; and the cosines, float32, 0 there.

    Raises:
        ValueError: A vector holds NaN or infinity, k is not positive, or the shape is not (N, d).
    """
    vectors = np.asarray(embeddings)
    if vectors.ndim != 2 or k < 1:
        raise ValueError(f"knn needs (N, d) vectors and k >= 1, got {vectors.shape} and k = {k}")
    unit = unit_vectors(vectors)
    barred = np.zeros(len(unit), bool)
    if exclude is not None:
        barred[np.asarray(exclude)] = True
    order = np.argsort(barred, kind="stable")  # those that may be neighbours come first
    if barred.any():
        unit = unit[order]
    k = min(k, max(len(unit) - 1, 0))
    index = np.empty((len(unit), k), np.int32)
    similarity = np.empty((len(unit), k), np.float32)
    starts = range(0, len(unit), QUERY_BLOCK)
    blocks = [range(start, min(start + QUERY_BLOCK, len(unit))) for start in starts]
    num_base = len(unit) - int(barred.sum())
    found = nearest(unit, num_base, k, blocks, device=device)
    for block, (rows, scores) in zip(blocks, found, strict=True):
        asked = order[block.start : block.stop]
        index[asked] = np.where(rows < 0, -1, order[rows])
        similarity[asked] = scores
    return index, similarity


def nearest(
    unit: NDArray[np.floating],
    num_base: int,
    k: int,
    blocks: Iterable[Queries],
    *,
    device: str = "cpu",
) -> Generator[NearestRows]:
    """Find neighbours of vectors among the first ones, block by block, in as many threads as cores.

    One thread searches a whole block: FAISS divides a small block badly among threads, and so the
    result does not depend on their number. Set `OMP_NUM_THREADS` for fewer.

    Args:
        unit: `(N, d)` unit vectors, in float32 or as a map of either kind.
        num_base: How many of them, from the first, may be neighbours.
        k: Neighbours wanted of each.
        blocks: Which vectors to find neighbours of, ranges or rows.
        device: `cpu`, or where PyTorch is to multiply.

    Yields:
        For every block in order: rows `(Q, k)`, -1 where there are no more, and their cosines.
    """
    faiss = load_faiss()
    find = candidates(unit[:num_base], device)
    num_threads = faiss.omp_get_max_threads()
    waiting: deque[Future[NearestRows]] = deque()
    with ThreadPoolExecutor(num_threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as p:
        try:
            for block in blocks:
                waiting.append(p.submit(_search, find, unit, num_base, k, block))
                if len(waiting) > num_threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _search(
    find: Candidates,
    unit: NDArray[np.floating],
    num_base: int,
    k: int,
    block: Queries,
) -> NearestRows:
    """Return the neighbours of one block, `(Q, k)` rows and cosines."""
    index = np.full((len(block), k), -1, np.int32)
    similarity = np.zeros((len(block), k), np.float32)
    rows_asked = np.asarray(block, np.int64)
    pending = np.arange(len(block) if k and num_base else 0)
    count = k + 1 + _SPARE
    while len(pending):
        count = min(count, num_base + 1)  # one too many: none is lost with the vector itself
        asked = rows_asked[pending]
        vectors, which = _distinct(np.ascontiguousarray(unit[asked], np.float32))
        rows, scores = (found[which] for found in _ordered(vectors, unit, *find(vectors, count)))
        settled = np.ones(len(pending), bool)
        if count <= num_base:  # equals of the last one wanted may lie beyond the candidates
            settled = scores[:, -1] < scores[:, k] - NEAR
        own = rows == asked[:, None]
        own[~own.any(axis=1), -1] = True
        rows, scores = (found[~own].reshape(len(own), -1)[settled, :k] for found in (rows, scores))
        index[pending[settled], : rows.shape[1]] = rows
        similarity[pending[settled], : rows.shape[1]] = np.where(rows < 0, 0, scores)
        pending = pending[~settled]
        count *= 4
    return index, similarity


def _distinct(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return vectors without copies, and where each is found: many silent clips are one search."""
    as_bytes = vectors.view(np.dtype((np.void, vectors.strides[0]))).ravel()
    distinct, which = np.unique(as_bytes, return_inverse=True)
    return distinct.view(np.float32).reshape(len(distinct), -1), which


def _ordered(
    vectors: NDArray[np.float32],
    unit: NDArray[np.floating],
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Settle the order of each vector's candidates: by score, equal ones by row.

    Only runs of scores nearer than `NEAR` can change places, so only they are computed again.
    """
    close = np.zeros(rows.shape, bool)  # to the candidate before
    np.less_equal(scores[:, :-1] - scores[:, 1:], NEAR, out=close[:, 1:])
    doubtful = close.copy()
    doubtful[:, :-1] |= close[:, 1:]
    query, column = np.nonzero(doubtful)
    candidate = rows[query, column]
    exact = _cosines(vectors, query, unit, candidate)
    run = np.cumsum(~close[query, column])
    order = np.lexsort((-exact, run))
    candidate, exact = candidate[order], exact[order]
    falls = (exact[:-1] - exact[1:] > EQUAL) | (run[1:] != run[:-1])
    level = np.concatenate([[0], np.cumsum(falls)])[: len(query)]
    rows[query, column] = candidate[np.lexsort((candidate, level))]
    scores[query, column] = exact
    return rows, scores


def _cosines(
    vectors: NDArray[np.float32],
    query: NDArray[np.int64],
    unit: NDArray[np.floating],
    candidate: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the cosines of pairs in float64, `(n,)`; those of a query follow each other."""
    exact = np.empty(len(query))
    step = max(1, _EXACT_VALUES // max(1, unit.shape[1]))
    limits = np.flatnonzero(np.diff(query, prepend=-1, append=-1)).tolist()
    for begin, end in pairwise(limits):
        asked = vectors[query[begin]].astype(np.float64)
        for start in range(begin, end, step):
            pairs = slice(start, min(start + step, end))
            others = unit[candidate[pairs]].astype(np.float64)
            exact[pairs] = np.einsum("nd,d->n", others, asked)
    return exact
