"""`avpipe evaluate`: runs on a benchmark, beside what needs no sound."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..cache.store import Cache
from ..errors import InputError, MissingDependencyError, UsageError
from ..weights import weights_dir
from .benchmarks import SIZE_PX, Benchmark, MapSource, Pair, Scored, Scores, load_benchmark
from .controls import ALPHA, Floats, Frame, blend, center_prior, saliency
from .geometry import Geometry
from .maps import StoredMaps, stored_maps, write_whole
from .metrics import Maps
from .object_prior import ObjectPrior
from .page import read_page
from .run import load_run

SCHEMA = "avpipe.evaluate/1"
PROTOCOLS = ("avpipe",)
_FRAMES_KEPT = 2048
Subsets = dict[str, Scores]


@dataclass(frozen=True)
class _Settings:
    """What all runs of one evaluation share."""

    cache: Cache
    name: str
    protocol: str
    geometry: Geometry
    device: str
    batch_size: int
    progress: Callable[[int, int], None] | None


def evaluate(
    run_dirs: Sequence[Path],
    cache: Cache,
    *,
    annotations: Path,
    benchmark: str = "synth",
    protocol: str = "avpipe",
    geometry: Geometry = "rf-centred",
    device: str = "auto",
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score runs and the controls on a benchmark.

    Each run's maps are stored in its folder (`evaluate/<benchmark>-maps.npz`) and used again until
    its weights, the clips or the pairs are others; `evaluate/<benchmark>-samples.csv` there has the
    figures of every pair.

    Args:
        run_dirs: Folders of the runs.
        cache: The clips.
        annotations: The benchmark's file or folder; of `synth` the world's folder.
        benchmark: One of `benchmarks.benchmark_names()`.
        protocol: One of `PROTOCOLS`. `avpipe`: maps are linear between their cells, `>=` the
            threshold is predicted, confidence is the maximum of the map.
        geometry: Where the maps' cells lie; see `geometry.upsample`.
        device: For maps that have to be computed.
        batch_size: Pairs at a time.
        progress: Called with (maps made, maps wanted) of each run.

    Returns:
        The document of `--json`; `scoreboard.evaluate_text` makes a table of it.

    Raises:
        UsageError: No such benchmark or protocol, or no run named.
        InputError: Annotations, run or clips are missing.
        CacheUnwritableError: A run's folder cannot be written.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"no protocol {protocol!r}: one of {', '.join(PROTOCOLS)}")
    if not run_dirs:
        raise UsageError("name at least one run to evaluate")
    full = load_benchmark(benchmark, annotations)
    have = set(cache.ids).intersection(full.clip_ids)
    if not have:
        raise InputError(
            f"{cache.path} has none of the {len(full.clip_ids)} test clips of {annotations}"
        )
    settings = _Settings(cache, benchmark, protocol, geometry, device, batch_size, progress)
    at_hand = full.only(have)
    object_prior, notices = _object_prior(geometry)
    sources = {
        "center": _constant(center_prior()),
        "saliency": _of_frames(cache, saliency),
        "object": _of_frames(cache, object_prior) if object_prior else None,
    }
    controls: dict[str, Subsets | None] = {
        name: source and at_hand.score(source).scores for name, source in sources.items()
    }
    controls["random_true_box"] = at_hand.score_random_box()
    entries = [
        _run_entry(Path(folder), settings, full, at_hand, controls, sources["object"])
        for folder in run_dirs
    ]
    document = {
        "schema": SCHEMA,
        "runs": entries,
        "mean": _over_runs(entries, np.mean),
        "std": _over_runs(entries, _sample_std),
        "notices": notices,
    }
    return cast(dict[str, Any], _without_nan(document))


def _run_entry(
    folder: Path,
    settings: _Settings,
    full: Benchmark,
    at_hand: Benchmark,
    controls: dict[str, Subsets | None],
    object_source: MapSource | None,
) -> dict[str, Any]:
    """Return one run's part of the document, and leave maps and csv in its folder."""
    page = read_page(folder)
    stored = stored_maps(
        folder,
        settings.name,
        at_hand.pairs(),
        settings.cache,
        lambda: load_run(folder, settings.device),
        batch_size=settings.batch_size,
        progress=settings.progress,
    )
    source = _of_run(stored, settings.geometry)
    own = at_hand.score(source)
    _write_samples(folder / "evaluate" / f"{settings.name}-samples.csv", own)
    by_source: dict[str, Subsets | None] = {
        "av": own.scores,
        "av_shuffled": at_hand.score_shuffled(source),
        **controls,
        "blend": object_source and at_hand.score(_blended(source, object_source)).scores,
    }
    leaked = sorted(set(page.ids).intersection(full.clip_ids))
    clean = at_hand.only(set(settings.cache.ids).difference(leaked)) if leaked else None
    headline, *others = full.counts
    return {
        "run": str(folder),
        "recipe": page.recipe_name,
        "seed": page.seed,
        "benchmark": settings.name,
        "protocol": settings.protocol,
        "geometry": settings.geometry,
        "n_scored": at_hand.counts[headline]["positive"],
        "n_official": full.counts[headline]["positive"],
        "pairs": at_hand.counts,
        "missing": sorted(set(full.clip_ids).difference(settings.cache.ids)),
        "leaked": leaked,
        "ceiling": at_hand.ceiling,
        "scores": _of_subset(by_source, headline),
        "subsets": {name: _of_subset(by_source, name) for name in others},
        "leak_free": clean
        and {
            "n_scored": clean.counts[headline]["positive"],
            "scores": {"av": clean.score(source).scores[headline]},
        },
        "maps_reused": stored.reused,
    }


def _of_subset(by_source: dict[str, Subsets | None], subset: str) -> dict[str, Scores | None]:
    return {name: None if scores is None else scores[subset] for name, scores in by_source.items()}


def _of_run(stored: StoredMaps, geometry: Geometry) -> MapSource:
    return lambda pairs: stored.of(pairs, SIZE_PX, geometry)


def _constant(one_map: Floats) -> MapSource:
    return lambda pairs: np.broadcast_to(one_map, (len(pairs), *one_map.shape))


def _of_frames(cache: Cache, draw: Callable[[Frame], Floats]) -> MapSource:
    """Maps that see the frame and hear nothing; a frame's map is kept for its other sounds."""

    @lru_cache(_FRAMES_KEPT)
    def drawn(video: str) -> Floats:
        return draw(cache.clip(video).frame)

    def source(pairs: Sequence[Pair]) -> Maps:
        return np.stack([drawn(pair.video) for pair in pairs])

    return source


def _blended(av: MapSource, objects: MapSource) -> MapSource:
    return lambda pairs: blend(av(pairs), objects(pairs), ALPHA)


def _object_prior(geometry: Geometry) -> tuple[ObjectPrior | None, list[str]]:
    """Return the object prior, or None and a line that says why."""
    try:
        return ObjectPrior(geometry), []
    except MissingDependencyError:
        return None, [
            f"object (OGL) and blend are null: no ImageNet ResNet18 in {weights_dir()}; "
            "`avpipe weights fetch imagenet-resnet18` fetches it"
        ]


def _write_samples(path: Path, scored: Scored) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(scored.samples[0]), lineterminator="\n")
    writer.writeheader()
    for record in scored.samples:
        writer.writerow({name: "" if _is_nan(value) else value for name, value in record.items()})
    write_whole(path, text.getvalue().encode())


def _over_runs(
    entries: Sequence[dict[str, Any]], reduce: Callable[[list[float]], Any]
) -> dict[str, Any]:
    """Reduce each score over the runs; the shape is that of a run's `scores` and `subsets`."""

    def merge(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], dict):
            return {name: merge([part[name] for part in parts]) for name in parts[0]}
        return None if None in parts else float(reduce(list(parts)))

    return {name: merge([entry[name] for entry in entries]) for name in ("scores", "subsets")}


def _sample_std(values: list[float]) -> float:
    """Return the sample standard deviation; NaN of one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _without_nan(value: Any) -> Any:
    """Return the same with null for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if _is_nan(value) else value
