"""Retrieval: does a sound find its picture among all of them, and a picture its sound?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .binarize import Maps

Places = Mapping[tuple[str, str], NDArray[np.int64]]
"""`(q,)` by direction, `a2i` or `i2a`, and by suffix, of clips or `_class`."""
DEPTHS = (1, 5, 10)
"""R@1, R@5 and R@10 (SSL alignment, Table 6)."""


def first_hits(
    similarity: Maps, query_labels: Sequence[object], gallery_labels: Sequence[object]
) -> NDArray[np.int64]:
    """Return how many items stand before each query's first item of its own label.

    Args:
        similarity: `(q, g)`; of equal items the first wins, NaN comes last.
        query_labels: `(q,)` classes; indices for instance-level retrieval.
        gallery_labels: `(g,)`.

    Returns:
        `(q,)`; g where no item has the label.
    """
    own: dict[object, list[int]] = {}
    for item, label in enumerate(gallery_labels):
        own.setdefault(label, []).append(item)
    places = np.full(len(similarity), len(gallery_labels), np.int64)
    for query, label in enumerate(query_labels):
        if label in own:
            scores = np.where(np.isnan(similarity[query]), -np.inf, similarity[query])
            best = own[label][int(np.argmax(scores[own[label]]))]
            level = scores[best]
            places[query] = (scores > level).sum() + (scores[:best] == level).sum()
    return places


def retrieval_recall(
    similarity: Maps, query_labels: Sequence[object], gallery_labels: Sequence[object], k: int = 1
) -> float:
    """Return the share of queries with an item of their own label among the k most similar.

    Args:
        similarity: `(q, g)`; of equal items the first wins.
        query_labels: `(q,)` classes; indices for instance-level retrieval.
        gallery_labels: `(g,)`.
        k: How many items are looked at.
    """
    return _share_within(first_hits(similarity, query_labels, gallery_labels), k)


def retrieval_scores(similarity: Maps, labels: Sequence[object]) -> dict[str, float]:
    """Return recalls of both directions, over clips and over classes.

    The papers do not say which of the two they print.

    Args:
        similarity: `(n, n)` of sound i and frame j of the same clips.
        labels: `(n,)` class of each clip.

    Returns:
        `a2i_r1`, `a2i_r5`, ..., `i2a_r10` over clips; with `_class` behind, over classes.
    """
    return scores_of_places(retrieval_places(similarity, labels))


def retrieval_places(similarity: Maps, labels: Sequence[object]) -> Places:
    """Return how many items stand before each query's own; see `retrieval_scores`."""
    return {
        (direction, suffix): first_hits(both, names, names)
        for suffix, names in (("", range(len(labels))), ("_class", labels))
        for direction, both in (("a2i", similarity), ("i2a", similarity.T))
    }


def scores_of_places(places: Places) -> dict[str, float]:
    """Return the recalls of queries by what stands before their own; see `retrieval_scores`."""
    return {
        f"{direction}_r{k}{suffix}": _share_within(own, k)
        for (direction, suffix), own in places.items()
        for k in DEPTHS
    }


def _share_within(places: NDArray[np.int64], k: int) -> float:
    return float(np.mean(places < k)) if len(places) else float("nan")
