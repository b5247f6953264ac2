"""Parts of spherical k-means: where to start, the rounds, and a way out of poor ends.

All are of unit vectors; the sum of the inner products of all vectors with their centroids is what
grows. To be called with FAISS on one thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .faiss_kernel import load_faiss

_SEED_SAMPLE = 256
"""Vectors for each centroid, at most, among which those to start from are drawn."""
_SAME = 1e-6
"""Squared distance up to which unit vectors in float32 are one and the same."""
_LEAST_GAIN = 1e-4
"""Share of the sum of inner products that a change has to bring; where groups are told apart a
centroid in a wrong place costs more."""
_FEW_ROUNDS = 10


def kmeans_plus_plus(
    unit: NDArray[np.float32], k: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose vectors to start from, far from each other: greedy k-means++.

    Each next one is drawn with a chance that grows with its squared distance to those before; of
    2 + log(k) drawn, the one that leaves the smallest sum of squared distances is taken (Arthur and
    Vassilvitskii 2007; scikit-learn does the same).

    Args:
        unit: `(N, d)` unit vectors, N >= k; of many a sample is looked at.
        k: How many.
        rng: Generator.

    Returns:
        `(k,)` positions, different from each other.
    """
    positions = np.arange(len(unit))
    if len(unit) > _SEED_SAMPLE * k:
        positions = np.sort(rng.choice(len(unit), _SEED_SAMPLE * k, replace=False))
    sample = np.ascontiguousarray(unit[positions])
    num_trials = 2 + int(np.log(k))
    chosen = [int(rng.integers(len(sample)))]
    nearest = _squared_distances(sample[chosen], sample)[0]
    while len(chosen) < k:
        reached = np.cumsum(nearest)
        if reached[-1] > 0:
            drawn = np.searchsorted(reached, rng.random(num_trials) * reached[-1], "right")
            drawn = np.minimum(drawn, np.flatnonzero(nearest)[-1])
        else:  # no other direction is left
            drawn = rng.choice(np.setdiff1d(np.arange(len(sample)), chosen), 1)
        left = np.minimum(nearest, _squared_distances(sample[drawn], sample))
        taken = int(left.sum(axis=1).argmin())
        chosen.append(int(drawn[taken]))
        nearest = left[taken]
    return positions[chosen]


def _squared_distances(some: NDArray[np.float32], unit: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the squared distances of unit vectors, `(some, unit)`; 0 where they are the same."""
    faiss = load_faiss()
    cosines = faiss.pairwise_distances(some, unit, faiss.METRIC_INNER_PRODUCT)
    distances: NDArray[np.float64] = 2 - 2 * cosines.astype(np.float64)
    distances[distances < _SAME] = 0
    return distances


def lloyd(
    unit: NDArray[np.float32], start: NDArray[np.float32], rounds: int, seed: int
) -> NDArray[np.float32]:
    """Assign vectors and average them, in turn, with FAISS.

    Args:
        unit: `(N, d)`.
        start: `(k, d)` centroids to begin with.
        rounds: How often, at most.
        seed: Of how FAISS divides a large cluster where one is empty.

    Returns:
        `(k, d)` centroids of unit length.
    """
    faiss = load_faiss()
    means = faiss.Kmeans(
        unit.shape[1],
        len(start),
        niter=rounds,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,  # FAISS's limit for a warning
        max_points_per_centroid=len(unit),  # above its limit it would take a sample
    )
    means.train(unit, init_centroids=start)
    return np.array(means.centroids, np.float32)


def labels_of(
    unit: NDArray[np.float32], centroids: NDArray[np.float32]
) -> tuple[NDArray[np.int64], float]:
    """Return the centroid of each vector, `(N,)`, and the sum of their inner products."""
    faiss = load_faiss()
    products, label = faiss.knn(unit, centroids, 1, faiss.METRIC_INNER_PRODUCT)
    return label[:, 0], float(products.sum(dtype=np.float64))


def swapped(
    unit: NDArray[np.float32], centroids: NDArray[np.float32], seed: int
) -> NDArray[np.float32]:
    """Join two clusters and divide a third, for as long as that helps.

    Lloyd's rounds cannot move a centroid from where two share a group to where one has two.

    Args:
        unit: `(N, d)`.
        centroids: `(k, d)` of `lloyd`.
        seed: Of the divisions.

    Returns:
        `(k, d)`.
    """
    k = len(centroids)
    rng = np.random.default_rng(seed)
    for _ in range(k if k > 2 else 0):
        label, before = labels_of(unit, centroids)
        changed = _best_change(unit, label, centroids, rng, seed)
        if changed is None:
            break
        better = lloyd(unit, changed, _FEW_ROUNDS, seed)
        if labels_of(unit, better)[1] <= before * (1 + _LEAST_GAIN):
            break
        centroids = better
    return centroids


def _best_change(
    unit: NDArray[np.float32],
    label: NDArray[np.int64],
    centroids: NDArray[np.float32],
    rng: np.random.Generator,
    seed: int,
) -> NDArray[np.float32] | None:
    """Return centroids with the best pair joined and the best other divided; None: none helps."""
    k = len(centroids)
    order = np.argsort(label, kind="stable")
    members = np.split(unit[order], np.searchsorted(label[order], np.arange(1, k)))
    sums = np.stack([one.sum(axis=0, dtype=np.float64) for one in members])
    length = np.linalg.norm(sums, axis=1)
    halves = [_halves(one, rng, seed) for one in members]
    gain = np.array([half[1] for half in halves]) - length
    joined = length[:, None] ** 2 + length**2 + 2 * np.einsum("ad,bd->ab", sums, sums)
    loss = length[:, None] + length - np.sqrt(np.maximum(joined, 0))
    loss[np.tril_indices(k)] = np.inf
    most, found = _LEAST_GAIN * float(length.sum()), None
    for divided in np.argsort(-gain, kind="stable")[:3].tolist():  # a pair holds at most two
        others = loss.copy()
        others[divided] = others[:, divided] = np.inf
        pair = np.unravel_index(int(others.argmin()), others.shape)
        net = gain[divided] - others[pair]
        if net > most:
            most, found = float(net), (divided, int(pair[0]), int(pair[1]))
    if found is None:
        return None
    divided, kept, freed = found
    changed = centroids.copy()
    both = sums[kept] + sums[freed]
    changed[kept] = both / max(float(np.linalg.norm(both)), 1e-30)
    changed[[divided, freed]] = halves[divided][0]
    return changed


def _halves(
    unit: NDArray[np.float32], rng: np.random.Generator, seed: int
) -> tuple[NDArray[np.float32], float]:
    """Divide vectors in two; return both centroids, and the sum of the inner products."""
    if len(unit) < 2:
        return np.zeros((2, unit.shape[1]), np.float32), -np.inf
    halves = lloyd(unit, unit[kmeans_plus_plus(unit, 2, rng)], _FEW_ROUNDS, seed)
    return halves, labels_of(unit, halves)[1]
