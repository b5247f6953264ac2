"""Parts of `gpu.py` before training: the suite's tests, teachers over clips, neighbours."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from avpipe.cache.schema import HINTS
from avpipe.cache.store import Cache
from avpipe.machine import granted_cores
from avpipe.stages.embed import run as embedding
from avpipe.stages.embed.read import NetworkBatch
from avpipe.stages.neighbors.cosine import QUERY_BLOCK, nearest, unit_vectors
from avpipe.weights import RANDOM
from common import avpipe
from gpu_parts import Part, Where
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
MARK = "pytest.mark.gpu"
TESTS_TIMEOUT_S = 240
SAME_COSINE = 1e-6
CLUSTERS = 300


def tests(where: Where, part: Part) -> None:
    """Run every test of the suite that needs a GPU; without one pytest skips them."""
    files = [file for file in (ROOT / "tests").rglob("test_*.py") if MARK in file.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *map(str, sorted(files))], cwd=ROOT, timeout=TESTS_TIMEOUT_S,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    counts = {word: int(number) for number, word in
              re.findall(r"(\d+) (passed|failed|errors?|skipped)", done.stdout)}  # fmt: skip
    part.figures = {"counts": counts, "exit": done.returncode, "end": done.stdout[-4000:]}
    passed = done.returncode == 0 and "passed" in counts and "skipped" not in counts
    words = ", ".join(f"{number} {word}" for word, number in counts.items()) or "none ran"
    part.add("tests marked `gpu`", words, "all pass", passed if where.is_gpu else None)


def teachers(where: Where, part: Part) -> None:
    """Extract clips, then let each teacher see or hear them: clips a second, share of waiting."""
    clips, cache = where.folder / "clips", where.folder / "teachers"
    clips.mkdir()
    for copy in range(where.sizes.copies):
        for clip in where.clips:
            (clips / f"{copy:03d}-{clip.name}").symlink_to(clip.absolute())
    jobs, num = granted_cores(), where.sizes.copies * len(where.clips)
    began = time.perf_counter()
    how = ("--jobs", jobs) if where.is_gpu else ("--backend", "sequential")
    avpipe("extract", clips, "--cache", cache, *how)
    seconds = time.perf_counter() - began
    part.figures["extract"] = {"clips": num, "seconds": seconds, "jobs": jobs}
    part.add(f"extract, {jobs} processes", f"{num / seconds:.0f} clips/s, start-up included")
    opened = Cache(cache)
    for name in where.sizes.teachers:

        def embed(name: str = name) -> embedding.EmbedSummary:
            shutil.rmtree(cache / HINTS, ignore_errors=True)
            return embedding.embed(
                opened, HINTS, [name], specs=[RANDOM], device=str(where.device)
            )  # fmt: skip

        embed()  # kernels are chosen, memory is taken
        with counted_waiting() as waited:
            done = embed()
        share = sum(waited) / done.seconds
        part.figures[name] = {"clips": done.done, "seconds": done.seconds, "waiting": share}
        part.add(
            f"embed-teachers, {name}",
            f"{done.done / done.seconds:.0f} clips/s, {share:.1%} of the time waiting for clips",
        )


@contextmanager
def counted_waiting() -> Iterator[list[float]]:
    """Count the seconds that `embed` waits for each batch."""
    inner, waited = embedding.read_batches, list[float]()

    def timed(*arguments: Any) -> Generator[NetworkBatch]:
        with closing(inner(*arguments)) as batches:
            while True:
                began = time.perf_counter()
                batch = next(batches, None)
                waited.append(time.perf_counter() - began)
                if batch is None:
                    return
                yield batch

    embedding.read_batches = timed
    try:
        yield waited
    finally:
        embedding.read_batches = inner


def neighbours(where: Where, part: Part) -> None:
    """Search exactly on the device; some of the clips on the CPU too, which must agree."""
    for num, width, k, asked in where.sizes.knn:
        unit = vectors(num, width)
        few = blocks(min(where.sizes.compared, num))
        _search(unit, k, few[:1], str(where.device))  # a first time
        where.forget_memory()
        began = time.perf_counter()
        rows, cosines = _search(unit, k, blocks(asked or num), str(where.device))
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        cpu_rows, cpu_cosines = _search(unit, k, few, "cpu")
        cpu_seconds = (time.perf_counter() - began) * num / len(cpu_rows)
        same = float((rows[: len(cpu_rows)] == cpu_rows).mean())
        apart = float(np.abs(cosines[: len(cpu_rows)] - cpu_cosines).max())
        whole = seconds * num / len(rows)
        name = f"{num:,} x {width}, k = {k}"
        part.figures[name] = {
            "seconds": whole, "asked": len(rows), "cpu_seconds": cpu_seconds, "same_rows": same,
            "cosines_apart": apart, "peak_gib": where.peak_gib(),
        }  # fmt: skip
        guess = "" if len(rows) == num else f" (estimate, from {len(rows):,} clips)"
        part.add(
            f"knn {name}",
            f"{whole:.1f} s{guess}, {where.peak_gib():.1f} GiB; "
            f"the CPU {cpu_seconds:.0f} s (estimate, from {len(cpu_rows):,})",
        )
        part.add(
            f"knn {name}: rows as the CPU's, cosines apart",
            f"{same:.5%}, {apart:.1e}", f"100 %, {SAME_COSINE:.0e}",
            same == 1 and apart <= SAME_COSINE,
        )  # fmt: skip


def vectors(num: int, width: int) -> NDArray[np.float32]:
    """Unit vectors in clusters, behind a ReLU, as pooled networks give them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, width), dtype=np.float32)
    made = centres[rng.integers(0, CLUSTERS, num)]
    made += rng.standard_normal(made.shape, dtype=np.float32)
    return unit_vectors(np.maximum(made, 0, out=made))


def blocks(num: int) -> list[range]:
    """The first clips, in the blocks that `knn` searches."""
    return [range(start, min(start + QUERY_BLOCK, num)) for start in range(0, num, QUERY_BLOCK)]


def _search(
    unit: NDArray[np.float32], k: int, asked: list[range], device: str
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    found = list(nearest(unit, len(unit), k, asked, device=device))
    rows, cosines = (np.concatenate(column) for column in zip(*found, strict=True))
    return rows, cosines
