"""`clusters`: sounds that are alike get one number, a pseudo-label (sound promotion, step 1).

k-means on the unit vectors of an audio encoder; a clip belongs to the centroid with the largest
inner product. Centroids have unit length too (spherical k-means): only then is that rule the same
as k-means' own, and no centroid gathers clips by being long.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...advice import advice
from ...cache.schema import CENTROIDS, CLUSTERS, Header, shard_path
from ...cache.shard import Shard
from ...cache.state import WHOLE, Part, of_part
from ...cache.store import Cache
from ...cache.writer import Rows, remove_orphans, write_shard
from ...errors import CacheCorruptError, InputError
from ..embed.run import EmbedProgress
from .kmeans import ITERATIONS, RESTARTS, assign, spherical_kmeans
from .vectors import IdSet, id_set, is_done, unit_vectors_of, vector_source

STAGE_VERSION = 2


@dataclass(frozen=True)
class Cluster:
    """One cluster.

    Attributes:
        size: Its clips.
        label: What most of its labelled clips are called; None if it has none.
        share: The share of its labelled clips that are called so; None likewise.
    """

    size: int
    label: str | None
    share: float | None


@dataclass(frozen=True)
class ClusterSummary:
    """What one run did; counts are clips.

    Attributes:
        stage: Folder that was filled, for example `clusters/vggsound-resnet18-k11@1a2b3c4d`.
        clusters: All k, the largest first.
        purity: Share of the labelled clips that are called as most of their cluster; None if no
            clip is labelled.
        purity_shuffled: The same with the labels dealt out anew at random: what clusters of these
            sizes reach by chance.
        done: Done by this run.
        skipped: Done before.
        seconds: Wall-clock time.
        notices: What the user should know, one line each.
    """

    stage: str
    clusters: tuple[Cluster, ...]
    purity: float | None
    purity_shuffled: float | None
    done: int
    skipped: int
    seconds: float
    notices: tuple[str, ...] = ()


def cluster(
    cache: Cache,
    encoder: str,
    k: int,
    *,
    seed: int = 0,
    ids: Collection[str] | None = None,
    hold_out: Collection[str] = (),
    overwrite: bool = False,
    part: Part = WHOLE,
    progress: EmbedProgress | None = None,
) -> ClusterSummary:
    """Cluster the sounds of an id set and label its clips with the number of their cluster.

    The same clips, vectors, k and seed give the same shards, whatever the number of threads.

    Args:
        cache: The cache; its embeddings (or hints) of that encoder must be there.
        encoder: An audio teacher, for example `vggsound-resnet18`.
        k: Number of clusters.
        seed: Of the clips that k-means starts from.
        ids: Clips to take; all that are done if None.
        hold_out: Clips to leave out.
        overwrite: Make shards again that were made with another seed or other weights.
        part: Which shards to label. A part takes the centroids of any shard that is there, and else
            finds the same ones: k-means has one result.
        progress: Told after every shard.

    Raises:
        InputError: Embeddings are missing or hold NaN, no clip is left, or there are fewer than k.
        CacheCorruptError: Shards were made with other parameters or weights, or parts with other
            centroids.
        CacheUnwritableError: The cache cannot be written.
    """
    started = time.monotonic()
    chosen = id_set(cache, ids, hold_out)
    if k > len(chosen.rows):
        raise InputError(
            f"{len(chosen.rows)} clips make no {k} clusters; give --k {len(chosen.rows)} or less"
        )
    source = vector_source(cache, encoder, chosen, part)
    common = Header(
        stage=f"{CLUSTERS}/{encoder}-k{k}@{chosen.digest[:8]}",
        stage_version=STAGE_VERSION,
        shard=-1,
        params={
            "k": k, "seed": seed, "source": source.stage, "spherical": True,
            "iterations": ITERATIONS, "restarts": RESTARTS,
        },
        inputs={"ids": chosen.digest, source.stage: source.digest},
        n=0,
        done=0,
        weights=source.weights,
        versions={name: version(name) for name in ("faiss-cpu", "numpy")},
    )  # fmt: skip
    remove_orphans(cache.path / common.stage)
    shards = [replace(common, shard=number) for number in chosen.spans]
    lacking = [header for header in shards if not is_done(cache, header, overwrite)]
    own = set(of_part(chosen.spans, part))
    todo = [header for header in lacking if header.shard in own]
    total = sum(len(chosen.spans[number]) for number in own)
    if todo:
        _fill(cache, chosen, todo, shards, overwrite, total, progress)
    clusters, purity, by_chance, notices = _described(cache, chosen, shards, overwrite)
    done = sum(len(chosen.spans[header.shard]) for header in todo)
    return ClusterSummary(
        stage=common.stage,
        clusters=clusters,
        purity=purity,
        purity_shuffled=by_chance,
        done=done,
        skipped=total - done,
        seconds=time.monotonic() - started,
        notices=(*chosen.notices, *notices),
    )


def _fill(
    cache: Cache,
    chosen: IdSet,
    todo: list[Header],
    shards: list[Header],
    overwrite: bool,
    total: int,
    progress: EmbedProgress | None,
) -> None:
    """Publish the missing shards, with the centroids of any of `shards` that is there.

    Each shard holds all centroids: a run that was killed goes on with the ones it had found, and a
    part with those of the part that was faster.
    """
    stage, params = todo[0].stage, todo[0].params
    done = total - sum(len(chosen.spans[header.shard]) for header in todo)
    if progress:
        progress(stage, done, total)
    unit = unit_vectors_of(cache, params["source"], chosen)
    centroids = _published(cache, shards, overwrite)
    if centroids is None:
        fitted = spherical_kmeans(unit, params["k"], params["seed"])
        published = _published(cache, shards, overwrite)
        centroids = fitted if published is None else published
    for header in todo:
        span = chosen.spans[header.shard]
        label, similarity = assign(unit[span.start : span.stop], centroids)
        columns = {
            "row": Rows.array(chosen.rows[span.start : span.stop]),
            "label": Rows.array(label),
            "similarity": Rows.array(similarity),
            CENTROIDS: Rows.array(centroids),
        }
        path = shard_path(cache.path, stage, header.shard)
        write_shard(path, replace(header, n=len(span), done=len(span)), columns)
        done += len(span)
        if progress:
            progress(stage, done, total)


def _published(cache: Cache, shards: list[Header], overwrite: bool) -> NDArray[np.float32] | None:
    """Return the centroids that another part, or an earlier run, has published."""
    for header in shards:
        if is_done(cache, header, overwrite):
            found: NDArray[np.float32] = _open(cache, header.stage, header.shard).column(CENTROIDS)
            return found
    return None


def _described(
    cache: Cache, chosen: IdSet, shards: list[Header], overwrite: bool
) -> tuple[tuple[Cluster, ...], float | None, float | None, list[str]]:
    """Describe the clusters, with purity, what chance gives, and notices; once all parts are there.

    Raises:
        CacheCorruptError: Two parts hold other centroids.
    """
    k, seed = shards[0].params["k"], shards[0].params["seed"]
    missing = sum(not is_done(cache, header, overwrite) for header in shards)
    if missing:
        line = f"{missing} of {len(shards)} shards are not labelled yet: run the other parts"
        return (), None, None, [line]
    opened = [_open(cache, header.stage, header.shard) for header in shards]
    first = opened[0].column(CENTROIDS)
    for shard in opened:
        if not np.array_equal(shard.column(CENTROIDS), first):
            raise CacheCorruptError(
                f"{shard.path} has other centroids than {opened[0].path.name}: parts began at once "
                f"on machines that round differently; run "
                f"{advice(f'drop {shards[0].stage}', shard.path)}, then --part 0 before the others"
            )
    labels = np.concatenate([shard.column("label") for shard in opened])
    clusters, purity, by_chance = _compare(cache, chosen, labels, k, seed)
    empty = sum(not one.size for one in clusters)
    line = f"{empty} of {k} clusters are empty: fewer sounds than that are distinct"
    return clusters, purity, by_chance, [line] if empty else []


def _open(cache: Cache, stage: str, number: int) -> Shard:
    """Open a shard as it is now; `cache` may hold one open that was replaced since."""
    return Shard(shard_path(cache.path, stage, number))


def _compare(
    cache: Cache, chosen: IdSet, labels: NDArray[np.int64], k: int, seed: int
) -> tuple[tuple[Cluster, ...], float | None, float | None]:
    """Describe the clusters, and return their purity and what chance gives."""
    called = dict.fromkeys(chosen.rows.tolist())
    for row, line in cache.manifest.lines():
        if row in called:
            called[row] = line.get("label")
    names = np.array(list(called.values()), dtype=object)
    clusters = []
    for number in range(k):
        members = names[labels == number]
        common = Counter(name for name in members if name is not None).most_common(1)
        top, share = None, None
        if common:
            top = common[0][0]
            share = common[0][1] / sum(name is not None for name in members)
        clusters.append(Cluster(len(members), top, share))
    known = np.array([name is not None for name in names])
    if not known.any():
        return tuple(clusters), None, None
    given, of = names[known], labels[known]
    shuffled = np.random.default_rng(seed).permutation(len(given))
    return tuple(clusters), purity(of, given), purity(of, given[shuffled])


def purity(clusters: NDArray[Any], classes: NDArray[Any]) -> float:
    """Return the share of items whose class is the most common one of their cluster.

    Args:
        clusters: `(n,)` the cluster of each.
        classes: `(n,)` the class of each.
    """
    pairs = Counter(zip(clusters.tolist(), classes.tolist(), strict=True))
    best: dict[Any, int] = {}
    for (number, _), count in pairs.items():
        best[number] = max(best.get(number, 0), count)
    return sum(best.values()) / len(clusters)
