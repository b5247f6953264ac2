"""`avpipe knn` from stored embeddings to stored neighbours, beside plain FAISS and scikit-learn."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import AUDIO, DROPPED, EMBEDDINGS, EXTRACT, NEIGHBORS, Header, shard_path
from avpipe.cache.segment import Line
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.stages.neighbors.faiss_kernel import best_kernel, load_faiss
from avpipe.stages.neighbors.run import neighbors
from common import anonymous_bytes, parser, ratio, report, table
from numpy.typing import NDArray

ENCODER = "imagenet-resnet18"
CLUSTERS = 300
SAMPLE = 50_000
"""Queries that scikit-learn and the product get at most: seconds are multiplied up."""
BLOCK = 4096
WANTED_PRODUCT, WANTED_SKLEARN = 1.3, 4
AVPIPE, FAISS, KERNEL, PRODUCT = "avpipe", "faiss", "faiss-kernel", "product"
SKLEARN, EUCLIDEAN = "sklearn", "sklearn-euclidean"
TITLES = {
    AVPIPE: "avpipe, read to written",
    FAISS: "FAISS IndexFlatIP as shipped, one search",
    KERNEL: "the same, with the CPU's kernel",
    PRODUCT: "matrix product alone (MKL)",
    SKLEARN: "scikit-learn, brute, cosine",
    EUCLIDEAN: "scikit-learn, brute, unit vectors",
}


def make_cache(folder: Path, num: int, dim: int) -> None:
    """A cache of embeddings alone, and the same as unit vectors in one file.

    Gaussian clusters behind a ReLU, as pooled networks give them.
    """
    folder.mkdir()
    line = {"root": 0, "path": "none", "source": "none", "bytes": 0}
    lines = (Line(id=f"{i:06d}", **line) for i in range(num))
    Manifest(folder).publish(lines, num, [{"path": str(folder), "device": 0}])
    manifest, cache = Manifest(folder), folder
    (cache / AUDIO).mkdir()
    (cache / AUDIO / DROPPED).touch()
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, dim), dtype=np.float32)
    unit = np.empty((num, dim), np.float32)
    for shard in range(manifest.num_shards):
        rows = np.array(manifest.shard_rows(shard))
        value = centres[rng.integers(0, CLUSTERS, len(rows))]
        value = np.maximum(value + rng.standard_normal(value.shape, dtype=np.float32), 0)
        unit[rows] = value / np.linalg.norm(value, axis=1, keepdims=True)
        for stage, columns in (
            (EXTRACT, {"row": rows, **_nothing_of(len(rows))}),
            (f"{EMBEDDINGS}/{ENCODER}", {"row": rows, "value": value}),
        ):
            header = Header(stage, 1, shard, {}, {}, len(rows), len(rows), weights="bench")
            written = {name: Rows.array(column) for name, column in columns.items()}
            write_shard(shard_path(cache, stage, shard), header, written)
    np.save(folder / "unit.npy", unit)


def _nothing_of(num: int) -> dict[str, NDArray[Any]]:
    """Return the other columns of a shard of clips: pictures of no bytes, sounds of one value."""
    each = ("frame_hw", "spectrogram_wide", "valid_cols", "frame_pts_s", "duration_s", "silent")
    none = ("frame_jpeg", "failed_row", "failed_reason", "failed_detail")
    return {
        "frame_offset": np.zeros(num + 1, np.int64),
        **{name: np.zeros(num, np.uint8) for name in (*each, "short")},
        **{name: np.zeros(0, np.uint8) for name in none},
    }


def prepare(method: str, folder: Path, k: int) -> tuple[Callable[[], object], float]:
    """Import and load what a method needs; return it, and by how much to multiply its seconds."""
    if method == AVPIPE:
        load_faiss()
        return lambda: neighbors(Cache(folder), ENCODER, k), 1
    unit: NDArray[np.float32] = np.load(folder / "unit.npy")
    if method in (FAISS, KERNEL):
        if method == KERNEL:
            load_faiss()
        import faiss

        index = faiss.IndexFlatIP(unit.shape[1])
        index.add(unit)
        return lambda: index.search(unit, k + 1), 1
    asked = unit[:SAMPLE]
    factor = len(unit) / len(asked)
    if method == PRODUCT:
        import torch

        left, right = torch.from_numpy(asked), torch.from_numpy(unit).T
        out = torch.zeros(BLOCK, len(unit))
        return lambda: [
            torch.mm(part, right, out=out[: len(part)]) for part in left.split(BLOCK)
        ], factor
    from sklearn.neighbors import NearestNeighbors

    metric = "cosine" if method == SKLEARN else "euclidean"
    fitted = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", metric=metric).fit(unit)
    return lambda: fitted.kneighbors(asked), factor


def run_alone(method: str, folder: Path, k: int) -> None:
    """Print the seconds and CPU seconds of one method; the process has nothing else to do."""
    call, factor = prepare(method, folder, k)
    begin, cpu = time.perf_counter(), time.process_time()
    call()
    print((time.perf_counter() - begin) * factor, (time.process_time() - cpu) * factor)


def measure(method: str, folder: Path, k: int) -> tuple[float, float, float]:
    """Run a method in a process of its own: seconds, CPU seconds, peak of anonymous MiB."""
    shutil.rmtree(folder / NEIGHBORS, ignore_errors=True)
    command = [sys.executable, __file__, "--k", str(k), "--alone", method, str(folder)]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                peak = max(peak, anonymous_bytes([process.pid]))
            except (FileNotFoundError, ProcessLookupError):
                break  # it ended between two looks
            time.sleep(0.02)
        printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{method} ended with {process.returncode}")
    seconds, cpu = map(float, printed.split())
    return seconds, cpu, peak / 2**20


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--n", type=int, default=20_000, help="clips")
    options.add_argument("--dim", type=int, default=512)
    options.add_argument("--k", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3, help="rounds, in turn")
    options.add_argument("--methods", nargs="+", choices=TITLES, default=list(TITLES))
    options.add_argument(
        "--alone", nargs=2, metavar=("METHOD", "CACHE"), help="as the bench calls itself"
    )
    arguments = options.parse_args()
    if arguments.alone:
        run_alone(arguments.alone[0], Path(arguments.alone[1]), arguments.k)
        return
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arguments.methods}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cache"
        make_cache(folder, arguments.n, arguments.dim)
        for _ in range(arguments.rounds):
            for method in arguments.methods:
                seen[method].append(measure(method, folder, arguments.k))
    typical = {method: tuple(map(median, zip(*runs, strict=True))) for method, runs in seen.items()}
    vectors = arguments.n * arguments.dim * 4 / 2**20
    taken = {method: [seconds for seconds, _, _ in runs] for method, runs in seen.items()}
    times = {method: ratio(taken[method], taken[AVPIPE]) for method in taken if AVPIPE in taken}
    figures = {
        method: {
            "seconds": taken[method],
            "cpu_seconds": typical[method][1],
            "mib_beside_vectors": max(peak for _, _, peak in runs) - vectors,
        }
        for method, runs in seen.items()
    }
    rows = [
        (TITLES[method], median(taken[method]), str(times.get(method, "-")), found["cpu_seconds"],
         found["mib_beside_vectors"])
        for method, found in figures.items()
    ]  # fmt: skip
    text = (
        f"{arguments.n} x {arguments.dim}, k = {arguments.k}; vectors of {vectors:.0f} MiB; "
        f"the CPU's kernel: {best_kernel()}; medians of {arguments.rounds} rounds\n\n"
        + table(("method", "seconds", "avpipe = 1", "CPU s", "MiB beside them"), rows)
        + f"\n\nwanted: at most {WANTED_PRODUCT} x the product, at least {WANTED_SKLEARN} x "
        "as fast as scikit-learn (cosine),\nunder 1 GB (954 MiB) beside the vectors"
    )
    headline = []
    if {AVPIPE, PRODUCT} <= taken.keys():
        over = ratio(taken[AVPIPE], taken[PRODUCT])
        headline.append(
            (f"{arguments.n:,} x {arguments.dim}, against the bare product", f"{over} times",
             f"<= {WANTED_PRODUCT}")
        )  # fmt: skip
    if {AVPIPE, SKLEARN} <= taken.keys():
        headline.append(
            (f"{arguments.n:,} x {arguments.dim}, as fast as scikit-learn",
             f"{times[SKLEARN]} times", f">= {WANTED_SKLEARN}")
        )  # fmt: skip
    shape = {"n": arguments.n, "dim": arguments.dim, "k": arguments.k}
    report("knn", {**shape, **figures}, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
