"""A run's part of an evaluation: its maps, what they and their blends score, what stands beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..benchmarks import MapSource, Pair, Scored, Subsets
from ..negatives.made import Made
from ..runs.checkpoint import require_checkpoint
from ..runs.localizer import load_run
from ..runs.made_by import note
from ..runs.record import RunRecord
from ..score import map_sources
from ..score.maps import OBJECT_MAPS, StoredMaps, maps_path, stored_maps
from ..score.shared import Evaluation
from .beside import copies_of, intervals_of, leaks_of, negatives_of, reached
from .results import write_results


def run_entry(folder: Path, record: RunRecord, shared: Evaluation) -> dict[str, Any]:
    """Return one run's part of the document, and leave maps, csv and scores in its folder."""
    full, at_hand = shared.full, shared.at_hand
    stores = _Stores(folder, shared, require_checkpoint(folder)[0])
    stored = stores.maps(shared.stem, at_hand.pairs())
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
        **negatives_of(source, shared, stores.maps),
        **intervals_of(folder, av, shared),
        "maps_reused": stored.reused,
    }
    results = write_results(folder, shared, entry, av)
    if (kept := maps_path(folder, shared.stem, OBJECT_MAPS)).exists():
        stores.names.append(kept.name)
    note(folder, *(f"evaluate/{name}" for name in (results.name, *stores.names)))
    return entry


@dataclass
class _Stores:
    """A run's maps of one evaluation, all of one checkpoint, and the names of their files."""

    folder: Path
    shared: Evaluation
    checkpoint: Path
    names: list[str] = field(default_factory=list)

    def maps(self, stem: str, pairs: Sequence[Pair], made: Made | None = None) -> StoredMaps:
        """Return the run's maps of pairs, stored under a name or computed."""
        folder, shared = self.folder, self.shared
        reads = shared.at_hand.reads
        self.names.append(maps_path(folder, stem, reads, shared.branch, shared.head).name)
        return stored_maps(
            folder,
            stem,
            pairs,
            shared.cache,
            lambda checkpoint: load_run(
                folder, shared.device, shared.branch, head=shared.head, checkpoint=checkpoint
            ),
            checkpoint=self.checkpoint,
            reads=reads,
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
