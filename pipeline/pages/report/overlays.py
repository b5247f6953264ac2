"""The clips that a run localizes best and worst, drawn from the maps that its evaluation stored."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ....cache.store import Cache
from ....printable import from_cell
from ....train.benchmarks import Benchmark, Pair, load_benchmark
from ....train.nets.geometry import upsample
from ....train.runs.localizer import load_run
from ....train.score.maps import StoredMaps, stored_maps
from ....train.score.table import form_of
from ....train.show.drawing import Panel, draw_panel, to_pixels
from ....train.tables.results import results_path
from ...output import Document
from .. import html
from ..media import SMALL_QUALITY, jpeg_bytes
from .scores import RULES, rule_of

NUM_EACH = 6
_CIOU = {"median": "ciou", "adaptive": "ciou_adaptive", "fixed": "ciou_fixed"}
_PAIR_PX = 480
_PANEL_IN = 2.2


@dataclass(frozen=True)
class ScoredClip:
    """A line of a run's csv.

    Attributes:
        pair: Its frame and its sound.
        label: Class of the sound.
        is_positive: Whether the sound's source is in the picture.
        confidence: How sure the map is.
        ciou: By the rule of the benchmark's headline; NaN of a negative.
    """

    pair: Pair
    label: str
    is_positive: bool
    confidence: float
    ciou: float


def overlays_section(run: Document, cache: Cache, annotations: Path, device: str) -> str:
    """Return the section of pictures; "" for a benchmark without maps.

    Args:
        run: The run's part of an evaluation that was just made: its maps are stored.
        cache: The clips.
        annotations: The benchmark's.
        device: For maps, should they be gone meanwhile.
    """
    benchmark = load_benchmark(run["benchmark"], annotations)
    if benchmark.reads != "maps":
        return ""
    at_hand = benchmark.only(set(cache.ids).intersection(benchmark.clip_ids))
    folder = Path(run["run"])
    rule = rule_of(form_of(run["benchmark"]).accuracy, run["protocol_fields"]["headline"])
    headline = next(iter(at_hand.counts))
    results = results_path(folder, run["benchmark"], run["protocol"])
    samples = read_samples(results, _CIOU[rule], headline)
    stored = stored_maps(
        folder,
        run["benchmark"],
        at_hand.pairs(),
        cache,
        lambda checkpoint: load_run(folder, device, checkpoint=checkpoint),
    )
    chosen = {title: found for title, found in choose(samples).items() if found}
    if not chosen:  # nothing that the headline counts is in the cache
        return ""
    cells = stored.cells([one.pair for found in chosen.values() for one in found])
    limits = float(np.nanmin(cells)), float(np.nanmax(cells))
    parts = [
        html.heading("Best and worst"),
        html.paragraph(
            f"Of {run['run']}, by cIoU where {RULES[rule]}. Solid boxes are true, dashed ones hold "
            "objects that are silent. All maps have one scale of colours, "
            f"cosines from {limits[0]:.2f} (dark) to {limits[1]:.2f} (bright).",
            "soft",
        ),
    ]
    for title, found in chosen.items():
        pictures = [_picture(one, at_hand, cache, stored, run["geometry"], limits) for one in found]
        parts += [html.heading(title, 3), html.block("cards", pictures)]
    return "\n".join(parts)


def read_samples(results: Path, ciou: str, headline: str) -> list[ScoredClip]:
    """Read the lines of a run's csv that the headline counts.

    Args:
        results: As `results.results_path` returns it.
        ciou: The column of cIoU.
        headline: The subset that the headline counts, where the csv tells subsets apart.
    """
    with results.with_name(f"{results.name}.csv").open(encoding="utf-8", newline="") as file:
        return [
            ScoredClip(
                Pair(from_cell(line["video"]), from_cell(line["audio"])),
                from_cell(line["label"]),
                line.get("kind", line.get("group")) == "positive",
                float(line["confidence"] or "nan"),
                float(line[ciou] or "nan"),
            )
            for line in csv.DictReader(file)
            if line.get("subset") in (None, headline)
        ]


def choose(samples: Sequence[ScoredClip], num: int = NUM_EACH) -> dict[str, list[ScoredClip]]:
    """Choose what to draw: best, worst and the surest maps of sounds without a source.

    Where cIoUs are equal the surer map is worse and better.
    """
    positives = [one for one in samples if one.is_positive and not math.isnan(one.ciou)]
    negatives = [one for one in samples if math.isnan(one.ciou) and not one.is_positive]
    best = sorted(positives, key=lambda one: (-one.ciou, -one.confidence, one.pair))[:num]
    worst = sorted(positives, key=lambda one: (one.ciou, -one.confidence, one.pair))
    worst = [one for one in worst if one not in best][:num]
    false = sorted(negatives, key=lambda one: (-one.confidence, one.pair))[: num // 2]
    return {"Best": best, "Worst": worst, "False alarms: sounds of nothing in the picture": false}


def _picture(
    sample: ScoredClip,
    benchmark: Benchmark,
    cache: Cache,
    stored: StoredMaps,
    geometry: Any,
    limits: tuple[float, float],
) -> str:
    """Draw the frame beside its map."""
    frame = cache.clip(sample.pair.video).frame
    size = (frame.shape[0], frame.shape[1])
    cells = stored.cells([sample.pair])
    heat = upsample(cells, size, geometry, stored.centres_px, stored.image_px)[0]
    truth = benchmark.truth(sample.pair, sample.is_positive)
    panels = [
        Panel("", frame, None, truth.sounding, truth.silent, mask=truth.mask),
        Panel("", frame, heat, truth.sounding, truth.silent, limits=limits, mask=truth.mask),
    ]
    content = jpeg_bytes(to_pixels(_side_by_side(panels)), SMALL_QUALITY)
    told = [f"cIoU {sample.ciou:.3f}"] if sample.is_positive else []
    told += [f"confidence {sample.confidence:.3f}", sample.label, sample.pair.video]
    if sample.pair.audio != sample.pair.video:
        told.append(f"sound of {sample.pair.audio}")
    caption = ", ".join(filter(None, told))
    return html.picture(content, f"frame and map: {caption}", caption, _PAIR_PX)


def _side_by_side(panels: Sequence[Panel]) -> Figure:
    """Draw panels that touch: nothing has to be laid out, which takes longer than drawing."""
    height, width = panels[0].frame.shape[:2]
    share = 1 / len(panels)
    figure = Figure((len(panels) * _PANEL_IN * width / height, _PANEL_IN), dpi=110)
    for number, panel in enumerate(panels):
        draw_panel(figure.add_axes((number * share, 0, share, 1)), panel)
    return figure
