"""`avpipe evaluate`: runs on a benchmark, beside what needs no sound."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from ...cache.schema import id_set_digest
from ...cache.store import Cache
from ...errors import InputError, MissingDependencyError, UsageError
from ...machine import AUTO
from ...printable import cell
from ...weights import weights_dir
from ..benchmarks import (
    Benchmark,
    MapSource,
    Pair,
    Scored,
    Subsets,
    load_benchmark,
    module_of,
)
from ..choices import DEFAULT_BENCHMARK, DEFAULT_PROTOCOL, MAPS_AT_A_TIME
from ..data.features import Cached
from ..negatives.asked import NO_NEGATIVES, Asked
from ..negatives.made import Made
from ..nets.encoders import IMAGENET, IMAGENET_NETWORK
from ..nets.geometry import Geometry
from ..notices import collected
from ..runs.localizer import load_run
from ..runs.record import RunRecord, read_record
from ..tables.beside import (
    copies_of,
    differences_of,
    intervals_of,
    is_nan,
    leaks_of,
    negatives_of,
    reached,
)
from ..tables.copies import FindCopies
from . import map_sources
from .controls import center_prior, saliency
from .maps import StoredMaps, stored_maps, stored_object_maps, write_whole
from .object_prior import ObjectPrior
from .over_runs import over_runs
from .protocols import load_protocol
from .published import published_rows
from .shared import Evaluation
from .surrounded import surrounded_maps
from .sweeps import NO_SWEEPS, Sweeps

SCHEMA = "avpipe.evaluate/1"


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
        The document of `--json`; `scoreboard.evaluate_text` makes a table of it.

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
        lacking = _add_priors(shared, Path(run_dirs[0]), seen)
        entries = [
            _run_entry(Path(folder), record, shared)
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
    return cast(dict[str, Any], _without_nan(document))


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


def _add_priors(shared: Evaluation, first_run: Path, seen: Cached | None) -> list[str]:
    """Score what is the same for all runs; return lines about what cannot be had.

    `seen`: the features of images that the first run to have some learnt from.
    """
    wanted: Sequence[str] = shared.at_hand.priors
    notices: list[str] = []
    sources: dict[str, MapSource | None] = {}
    if "saliency" in wanted:
        sources["saliency"] = map_sources.of_frames(shared.cache, saliency)
    if "center" in wanted:
        sources["center"] = map_sources.constant(center_prior())
    if "object" in wanted:
        maps, notices = _object_maps(shared, first_run, seen)
        for name, stored in maps.items():
            make = map_sources.of_ogl if name == "object" else map_sources.of_objects
            shared.objects[name] = make(stored, shared.protocol, shared.geometry)
        sources |= {"object": None, **shared.objects}
    for name, source in sources.items():
        rules = shared.protocol if name == "object" else shared.protocol.without_scale
        shared.priors[name] = source and shared.at_hand.score(source, rules)
    return notices


def _object_maps(
    shared: Evaluation, first_run: Path, seen: Cached | None
) -> tuple[dict[str, StoredMaps], list[str]]:
    """Return the object maps that can be had, and a line that says why OGL cannot."""
    found, notices = {}, []
    videos = sorted({pair.video for pair in shared.at_hand.pairs()})
    try:
        found["object"] = stored_object_maps(
            first_run,
            shared.stem,
            videos,
            shared.cache,
            ObjectPrior(device=shared.device),
            batch_size=shared.batch_size,
            progress=shared.progress,
        )
    except MissingDependencyError as error:
        fetch = f"`avpipe weights fetch {IMAGENET_NETWORK}` fetches it"
        line = f"object (OGL) and blend are null: no ImageNet ResNet18 in {weights_dir()}; {fetch}"
        if (weights_dir() / IMAGENET.name).exists():
            line = f"object (OGL) and blend are null: {error}; once it is removed {fetch}"
        notices.append(line)
    if detr := map_sources.detr_maps(shared.cache, videos):
        found["detr"] = detr
    if surrounded := surrounded_maps(shared.cache, videos, seen):
        found["surrounded"] = surrounded
    return found, notices


def _run_entry(folder: Path, record: RunRecord, shared: Evaluation) -> dict[str, Any]:
    """Return one run's part of the document, and leave maps, csv and scores in its folder."""
    full, at_hand = shared.full, shared.at_hand
    stored = _stored(folder, shared, shared.stem, at_hand.pairs())
    source: MapSource = stored.cells
    if at_hand.reads == "maps":
        source = map_sources.of_run(stored, shared.protocol, shared.geometry)
    av = at_hand.score(source, shared.protocol)
    scored: dict[str, Scored | None] = {"av": av, **shared.priors, **_blends(source, av, shared)}
    by_source: dict[str, Subsets | None] = {
        **{name: None if one is None else one.scores for name, one in scored.items()},
        **at_hand.controls(source, shared.protocol),
    }
    by_source = {
        name: subsets and {subset: reached(own, shared) for subset, own in subsets.items()}
        for name, subsets in by_source.items()
    }
    headline, *others = av.scores
    entry = {
        "run": str(folder),
        "recipe": record.recipe_name,
        "seed": record.seed,
        "weights": record.image_weights,
        "branch": shared.branch or record.recipe.test_weights,
        "head": shared.head,
        "benchmark": shared.name,
        "protocol": shared.protocol.name,
        "protocol_fields": asdict(shared.protocol),
        "geometry": shared.geometry,
        "alpha": shared.alpha,
        "n_scored": at_hand.counts[headline].get("positive", 0),
        "n_official": shared.num_official,
        "pairs": at_hand.counts,
        "pairs_official": full.counts,
        "missing": sorted(set(full.clip_ids).difference(shared.cache.ids)),
        "left_out": list(full.left_out),
        **leaks_of(record, shared, scored),
        **copies_of(record, shared, scored),
        "ceiling": at_hand.ceiling,
        "scores": _of_subset(by_source, headline),
        "subsets": {name: _of_subset(by_source, name) for name in others},
        "alphas": _alphas(source, av, shared),
        "sweeps": _sweeps(source, av, scored, shared),
        **negatives_of(source, shared, partial(_stored, folder, shared)),
        **intervals_of(folder, av, shared),
        "maps_reused": stored.reused,
    }
    _write_results(folder, shared, entry, av)
    return entry


def _stored(
    folder: Path, shared: Evaluation, stem: str, pairs: Sequence[Pair], made: Made | None = None
) -> StoredMaps:
    """Return a run's maps of pairs, stored under a name or computed."""
    return stored_maps(
        folder,
        stem,
        pairs,
        shared.cache,
        lambda: load_run(folder, shared.device, shared.branch, head=shared.head),
        reads=shared.at_hand.reads,
        branch=shared.branch,
        head=shared.head,
        made=made,
        batch_size=shared.batch_size,
        progress=shared.progress,
    )


def _blends(source: MapSource, av: Scored, shared: Evaluation) -> dict[str, Scored | None]:
    return {
        name: None if others is None else _blend(source, av, shared, others)
        for name, others in shared.blends.items()
    }


def _blend(
    source: MapSource, av: Scored, shared: Evaluation, others: dict[str, tuple[float, MapSource]]
) -> Scored:
    rules = shared.protocol
    maps = map_sources.blended(rules, source, others)
    sure = av.confidence if rules.blend_confidence == "av" else None
    return shared.at_hand.score(maps, rules, sure)


def _alphas(source: MapSource, av: Scored, shared: Evaluation) -> dict[str, dict[str, float]]:
    """Return the scores of the blend at each of several alphas."""
    ogl = shared.objects.get("object")
    if len(shared.alphas) < 2 or not ogl:
        return {}
    return {
        f"{alpha:g}": reached(
            _blend(source, av, shared, {"object": (1 - alpha, ogl)}).headline()[1], shared
        )
        for alpha in shared.alphas
    }


def _sweeps(
    source: MapSource, av: Scored, scored: dict[str, Scored | None], shared: Evaluation
) -> dict[str, Any]:
    """Return the scores of the run's maps, and of their blend with OGL, over what is varied."""
    sources = {"av": (source, av)}
    if (blend := scored.get("blend")) and (others := shared.blends.get("blend")):
        sources["blend"] = map_sources.blended(shared.protocol, source, others), blend
    return shared.sweeps.of(shared.at_hand, sources, shared.protocol)


def _of_subset(by_source: dict[str, Subsets | None], subset: str) -> dict[str, Any]:
    return {name: scores and scores.get(subset) for name, scores in by_source.items()}


def results_path(
    folder: Path,
    benchmark: str,
    protocol: str,
    branch: str | None = None,
    head: str | None = None,
) -> Path:
    """Return where a run's results lie, without `.csv` (pairs) and `.json` (scores, curves)."""
    stem = "-".join(filter(None, (benchmark, branch, head)))
    return folder / "evaluate" / f"{stem}-{protocol}"


def _write_results(folder: Path, shared: Evaluation, entry: dict[str, Any], av: Scored) -> None:
    """Write the csv of pairs and the json of scores and curves, the same however often."""
    path = results_path(folder, shared.stem, shared.protocol.name, shared.branch, shared.head)
    samples, text = av.samples, io.StringIO()
    writer = csv.DictWriter(text, list(samples[0]), lineterminator="\n")
    writer.writeheader()
    for sample in samples:
        writer.writerow(
            {name: "" if is_nan(value) else cell(value) for name, value in sample.items()}
        )
    write_whole(path.with_name(f"{path.name}.csv"), text.getvalue().encode())
    kept = {name: value for name, value in entry.items() if name not in ("run", "maps_reused")}
    kept = {"schema": SCHEMA, **kept, "curves": av.curves}
    content = json.dumps(_without_nan(kept), indent=1) + "\n"
    write_whole(path.with_name(f"{path.name}.json"), content.encode())


def _without_nan(value: Any) -> Any:
    """Return the same with null for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if is_nan(value) else value
