"""Exact nearest neighbours by cosine: FAISS finds, blocks bound memory, float64 settles ties."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

QUERY_BLOCK = 1024
BASE_BLOCK = 65_536
"""Vectors compared at a time, on either side."""

NEAR = 1e-6
"""FAISS scores identical vectors differently, by less than this: such scores are computed again."""

EQUAL = 1e-7
"""Scores no further apart, once computed in float64, are equal: float32 cannot tell them apart."""

_SPARE = 8  # candidates beyond those asked for: ties at the end are seen, and mostly settled
_NORM_ROWS = 8192
_EXACT_PAIRS = 1 << 14


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
    embeddings: ArrayLike, k: int, *, exclude: ArrayLike | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the k nearest other vectors of every vector, by cosine, exactly.

    Multi-positive alignment (Senocak et al. 2023) draws its positives from them, k = 1000.

    Args:
        embeddings: `(N, d)`. A zero vector has cosine 0 with all.
        k: Neighbours wanted; no more than N - 1 are given.
        exclude: Vectors that may not be neighbours: a mask `(N,)`, or their rows. They still get
            neighbours of their own.

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
    allowed = np.ones(len(unit), bool)
    if exclude is not None:
        allowed[np.asarray(exclude)] = False
    base = np.flatnonzero(allowed)
    k = min(k, max(len(unit) - 1, 0))
    index = np.empty((len(unit), k), np.int32)
    similarity = np.empty((len(unit), k), np.float32)
    for start in range(0, len(unit), QUERY_BLOCK):
        queries = np.arange(start, min(start + QUERY_BLOCK, len(unit)))
        index[queries], similarity[queries] = nearest(unit, queries, k, base)
    return index, similarity


def nearest(
    unit: NDArray[np.float32], queries: NDArray[np.int64], k: int, base: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find neighbours of some vectors among others.

    Args:
        unit: `(N, d)` unit vectors.
        queries: `(Q,)` which of them to find neighbours of.
        k: How many.
        base: `(M,)` ascending; which of them may be neighbours.

    Returns:
        `(Q, k)` rows, -1 where there are no more, and their cosines.
    """
    index = np.full((len(queries), k), -1, np.int64)
    similarity = np.zeros((len(queries), k), np.float32)
    pending = np.arange(len(queries) if k and len(base) else 0)
    count = k + 1 + _SPARE
    while len(pending):
        count = min(count, len(base))
        asked = queries[pending]
        rows, scores = _ordered(unit, asked, *_candidates(unit, asked, base, count))
        if count == len(base):
            settled = np.ones(len(pending), bool)
        else:  # equals of the k-th may lie beyond the candidates (the last column may be `self`)
            settled = scores[:, -2] < scores[:, k - 1] - NEAR
        found = rows[settled, :k]
        index[pending[settled], : found.shape[1]] = found
        kept = np.where(found < 0, 0, scores[settled, :k])
        similarity[pending[settled], : found.shape[1]] = kept
        pending = pending[~settled]
        count *= 4
    return index, similarity


def _candidates(
    unit: NDArray[np.float32], queries: NDArray[np.int64], base: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows `(Q, count)` of highest score, best first, merged block by block."""
    import faiss

    asked = unit[queries]
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(base), BASE_BLOCK):
        part = base[start : start + BASE_BLOCK]
        whole = part[-1] - part[0] + 1 == len(part)  # a slice, which is no copy
        block = unit[part[0] : part[-1] + 1] if whole else unit[part]
        part_scores, position = faiss.knn(
            asked, block, min(count, len(part)), faiss.METRIC_INNER_PRODUCT
        )
        if not start:
            rows, scores = part[position], part_scores
            continue
        rows = np.concatenate([rows, part[position]], axis=1)
        scores = np.concatenate([scores, part_scores], axis=1)
        best = np.argsort(-scores, axis=1)[:, :count]
        rows = np.take_along_axis(rows, best, axis=1)
        scores = np.take_along_axis(scores, best, axis=1)
    return rows, scores


def _ordered(
    unit: NDArray[np.float32],
    queries: NDArray[np.int64],
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Settle the order of candidates: each query's own row goes last, as -1; ties by row.

    Only runs of scores nearer than `NEAR` can change places, so only they are computed again.
    """
    rows, scores = _own_last(queries, rows, scores)
    close = np.zeros(rows.shape, bool)  # to the candidate before
    close[:, 1:] = scores[:, :-1] - scores[:, 1:] <= NEAR
    doubtful = close.copy()
    doubtful[:, :-1] |= close[:, 1:]
    query, column = np.nonzero(doubtful)
    candidate = rows[query, column]
    exact = np.empty(len(query))
    for start in range(0, len(query), _EXACT_PAIRS):
        pairs = slice(start, start + _EXACT_PAIRS)
        left = unit[queries[query[pairs]]].astype(np.float64)
        exact[pairs] = np.einsum("nd,nd->n", left, unit[candidate[pairs]].astype(np.float64))
    run = np.cumsum(~close[query, column])
    order = np.lexsort((-exact, run))
    candidate, exact = candidate[order], exact[order]
    falls = (exact[:-1] - exact[1:] > EQUAL) | (run[1:] != run[:-1])
    level = np.concatenate([[0], np.cumsum(falls)])[: len(query)]
    rows[query, column] = candidate[np.lexsort((candidate, level))]
    scores[query, column] = exact
    return rows, scores


def _own_last(
    queries: NDArray[np.int64], rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Move each query's own row behind the others, as row -1 and score -inf."""
    own = rows == queries[:, None]
    last = rows.shape[1] - 1
    at = np.where(own.any(axis=1), own.argmax(axis=1), last)[:, None]
    column = np.arange(last + 1)
    column = np.where(column == last, at, column + (column >= at))
    rows = np.take_along_axis(np.where(own, -1, rows), column, axis=1)
    return rows, np.take_along_axis(np.where(own, np.float32(-np.inf), scores), column, axis=1)
