"""Spherical k-means, begun by k-means++: the same centroids whatever the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from .faiss_kernel import load_faiss
from .kmeans_parts import kmeans_plus_plus, labels_of, lloyd, swapped

ITERATIONS = 50
"""At most; FAISS stops when nothing changes any more."""
RESTARTS = 10
"""Starts by k-means++; the one whose clips are closest to their centroids is kept and improved."""

_BLOCK = 4096


def spherical_kmeans(unit: NDArray[np.float32], k: int, seed: int) -> NDArray[np.float32]:
    """Find k centroids of unit length, the one with the most vectors first.

    Args:
        unit: `(N, d)` unit vectors, N >= k; all of them are used.
        k: How many.
        seed: Of the vectors that are taken to start with.

    Returns:
        `(k, d)` centroids. Where fewer than k directions are distinct, some get no vector.
    """
    rng = np.random.default_rng(seed)
    best, centroids = -np.inf, unit[:k]
    with _one_thread():
        for _ in range(RESTARTS):
            found = lloyd(unit, unit[kmeans_plus_plus(unit, k, rng)], ITERATIONS, seed)
            closeness = labels_of(unit, found)[1]
            if closeness > best:
                best, centroids = closeness, found
        centroids = lloyd(unit, swapped(unit, centroids, seed), ITERATIONS, seed)
    sizes = np.bincount(assign(unit, centroids)[0], minlength=k)
    return centroids[np.argsort(-sizes, kind="stable")]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep FAISS to one thread: sums in another order round otherwise, and k-means amplifies it."""
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def assign(
    unit: NDArray[np.float32], centroids: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Give each vector to the centroid with the largest inner product.

    Args:
        unit: `(N, d)` unit vectors; a zero vector goes to centroid 0.
        centroids: `(k, d)`.

    Returns:
        Numbers `(N,)`, of equal products the lower one, and the products, in float64 rounded to
        float32. `einsum` sums in one order, unlike a matrix product.
    """
    label = np.empty(len(unit), np.int32)
    product = np.empty(len(unit), np.float32)
    exact = centroids.astype(np.float64)
    for start in range(0, len(unit), _BLOCK):
        block = slice(start, start + _BLOCK)
        products = np.einsum("nd,kd->nk", unit[block].astype(np.float64), exact)
        label[block] = products.argmax(axis=1)
        product[block] = products.max(axis=1)
    return label, product
