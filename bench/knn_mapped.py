"""Neighbours among a million mapped vectors: exact, and by an index at three numbers of probes.

The vectors are generated (Gaussian clusters behind a ReLU, seeded) and lie in a float16 map. Exact
neighbours of all clips would take hours: seconds are those of the queries that are named.
"""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from avpipe.stages.neighbors.approximate import Index
from avpipe.stages.neighbors.cosine import QUERY_BLOCK, nearest
from common import anonymous_bytes, parser, report, table
from numpy.typing import NDArray

PROBES = (16, 64, 256)
_BLOCK = 65_536


def make_map(path: Path, num: int, dim: int, clusters: int) -> NDArray[np.float16]:
    """Write unit vectors and map them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((clusters, dim), dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, num, _BLOCK):
            value = centres[rng.integers(0, clusters, min(_BLOCK, num - start))]
            value = np.maximum(value + rng.standard_normal(value.shape, dtype=np.float32), 0)
            value /= np.linalg.norm(value, axis=1, keepdims=True)
            file.write(value.astype("<f2").tobytes())
    return np.memmap(path, "<f2", "r", shape=(num, dim))


@contextmanager
def watched(rows: list[tuple[object, ...]], name: str) -> Iterator[list[float]]:
    """Add the seconds, the CPU seconds and the peak of anonymous MiB of a block to the rows."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], anonymous_bytes([os.getpid()]) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    begin, cpu, found = time.perf_counter(), _cpu(), list[float]()
    try:
        yield found
    finally:
        over.set()
        thread.join()
    rows.append((name, time.perf_counter() - begin, _cpu() - cpu, peak[0], *(found or ["-"])))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--n", type=int, default=1_000_000)
    options.add_argument("--dim", type=int, default=512)
    options.add_argument("--k", type=int, default=1000)
    options.add_argument("--clusters", type=int, default=300)
    options.add_argument("--queries", type=int, default=2000)
    arguments = options.parse_args()
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors = make_map(folder / "v.f2", arguments.n, arguments.dim, arguments.clusters)
        with watched(rows, "train and fill the index"):
            index = Index(folder / "v.ivf", vectors)
        for probes in PROBES:
            with watched(rows, f"recall, {probes} probes, exact included") as found:
                found.append(index.recall(arguments.k, probes))
        rng = np.random.default_rng(2)
        asked = np.sort(rng.choice(arguments.n, arguments.queries, replace=False))
        blocks = np.array_split(asked, -(-len(asked) // QUERY_BLOCK))
        for probes in PROBES:
            with watched(rows, f"{len(asked)} queries, {probes} probes"):
                for _ in index.nearest(arguments.k, blocks, probes):
                    pass
        with watched(rows, f"{len(asked)} queries, exact, from the map"):
            for _ in nearest(vectors, len(vectors), arguments.k, blocks):
                pass
    text = f"{arguments.n} x {arguments.dim} float16, k = {arguments.k}, {index.name}\n\n" + table(
        ("step", "seconds", "of a core", "anonymous MiB, peak", "recall"), rows
    )
    report("knn_mapped", {"rows": rows}, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
