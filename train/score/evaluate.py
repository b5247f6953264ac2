"""`avpipe evaluate`: runs on a benchmark, beside what needs no sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from ...cache.schema import id_set_digest
from ...cache.store import Cache
from ...errors import InputError, UsageError
from ...machine import AUTO
from ..benchmarks import Benchmark, load_benchmark, module_of
from ..choices import DEFAULT_BENCHMARK, DEFAULT_PROTOCOL, MAPS_AT_A_TIME
from ..negatives.asked import NO_NEGATIVES, Asked
from ..nets.geometry import Geometry
from ..notices import collected
from ..runs.record import read_record
from ..tables.beside import differences_of
from ..tables.copies import FindCopies
from ..tables.of_run import run_entry
from ..tables.results import SCHEMA, without_nan
from .over_runs import over_runs
from .protocols import load_protocol
from .published import published_rows
from .shared import Evaluation, add_priors
from .sweeps import NO_SWEEPS, Sweeps


def evaluate(
    run_dirs: Sequence[Path],
    cache: Cache,
    *,
    annotations: Path,
    benchmark: str = DEFAULT_BENCHMARK,
    protocol: str = DEFAULT_PROTOCOL,
    paper: str | None = None,
    geometry: Geometry | None = None,
    alphas: Sequence[float] = (),
    branch: str | None = None,
    head: str | None = None,
    ids: Sequence[str] | None = None,
    sweeps: Sweeps = NO_SWEEPS,
    negatives: Asked = NO_NEGATIVES,
    bootstrap: int = 0,
    find_copies: FindCopies | None = None,
    device: str = AUTO,
    batch_size: int = MAPS_AT_A_TIME,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score runs, priors and blends on a benchmark.

    Each run's maps are stored in its folder (`evaluate/<benchmark>-maps.npz`) and used again until
    its weights, the clips or the pairs are others. Beside them lie, for each protocol, the figures
    of every pair (`<benchmark>-<protocol>.csv`) and the run's scores with their curves (`.json`).

    Args:
        run_dirs: Folders of the runs.
        cache: The clips.
        annotations: The benchmark's folder or file; of `synth` the world's folder.
        benchmark: One of `benchmarks.benchmark_names()`.
        protocol: How maps are filled in, blended and scored: see `protocols`.
        paper: With protocol `paper`, whose.
        geometry: Where the maps' cells lie, if not as the protocol has it.
        alphas: Share of the audio-visual map in `blend`, if not the protocol's. Several make
            a table of their own, and `blend` stays the protocol's.
        branch: Which weights of the runs: `online`, `momentum` or `ema`; None for those that their
            recipes test.
        head: Which of several projections makes the maps (`objectives.head_number`); None: all.
        ids: Test only the pairs whose clips are all in this list; files of the results then have
            the list's digest in their names.
        sweeps: What is varied beside.
        negatives: Which sounds of nothing in the picture are tested beside.
        bootstrap: Draws of the clips that 95 % intervals are taken from; 0 for none.
        find_copies: Searches the clips trained on for copies of test clips; None: nobody looks.
        device: For maps that have to be computed.
        batch_size: Pairs at a time.
        progress: Called with (maps made, maps wanted) of each run.

    Returns:
        The document of `--json`; `table.evaluate_text` makes a table of it.

    Raises:
        UsageError: No such benchmark, protocol or weights, or no run named.
        InputError: Annotations, run or clips are missing.
        CacheUnwritableError: A run's folder cannot be written.
    """
    rules = load_protocol(protocol, paper)
    if not run_dirs:
        raise UsageError("name at least one run to evaluate")
    whole = full = load_benchmark(benchmark, annotations, rules)
    sweeps.require_boxes(benchmark, whole)
    negatives.require_fit(benchmark, whole)
    stem = benchmark
    with collected() as told:
        records = [read_record(Path(folder)) for folder in run_dirs]
    if ids is not None:
        full = _listed(whole, ids, annotations)
        stem = f"{benchmark}@{id_set_digest(full.clip_ids)[:8]}"
        line = f"--ids: {len(full.clip_ids):,} of the {len(whole.clip_ids):,} clips are tested"
        told = [line, *told]
    at_hand = _at_hand(full, cache, annotations)
    if head is not None and full.reads == "embeddings":
        raise UsageError(f"--head {head}: {benchmark} embeds wholes, there is no map of a head")
    shared = Evaluation(
        cache,
        benchmark,
        stem,
        full,
        frozenset(whole.clip_ids),
        whole.num_official,
        at_hand,
        rules,
        geometry or rules.geometry_on(module_of(benchmark).GEOMETRY),
        branch,
        head,
        tuple(alphas),
        sweeps,
        negatives,
        bootstrap,
        find_copies,
        {},
        device,
        batch_size,
        progress,
        {},
        {},
    )
    with collected() as told_meanwhile:
        seen = next((one.features["image"] for one in records if "image" in one.features), None)
        lacking = add_priors(shared, Path(run_dirs[0]), seen)
        entries = [
            run_entry(Path(folder), record, shared)
            for folder, record in zip(run_dirs, records, strict=True)
        ]
    notices = list(dict.fromkeys([*told, *full.notices, *lacking, *told_meanwhile]))
    document = {
        "schema": SCHEMA,
        "runs": entries,
        **over_runs(entries, records),
        **differences_of(entries, shared),
        "published": published_rows(benchmark),
        "notices": notices,
    }
    return cast(dict[str, Any], without_nan(document))


def _listed(whole: Benchmark, ids: Sequence[str], annotations: Path) -> Benchmark:
    """Return what a list has of a benchmark; nothing of it is an error."""
    part = whole.only(set(ids))
    if not part.clip_ids:
        raise InputError(f"--ids: none of its {len(set(ids))} ids is a test clip of {annotations}")
    return part


def _at_hand(full: Benchmark, cache: Cache, annotations: Path) -> Benchmark:
    """Return what the cache has of a benchmark; nothing of it is an error."""
    missing = set(full.clip_ids).difference(cache.ids)
    at_hand = full.only(set(full.clip_ids).difference(missing))
    if at_hand.clip_ids:
        return at_hand
    if len(missing) == len(full.clip_ids):
        raise InputError(f"{cache.path} has none of the {len(missing)} test clips of {annotations}")
    raise InputError(
        f"{cache.path} lacks {len(missing)} test clips ({min(missing)}, ...), and without them "
        f"nothing of {annotations} can be scored"
    )
