"""The table that `avpipe evaluate` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = {
    "right_object": "right object",
    "swapped_right_object": "swapped",
    "auroc_offscreen": "off-screen",
    "auroc_mismatched": "mismatched",
    "loc_acc_adaptive": "LocAcc",
    "ciou_mean_adaptive": "mean cIoU",
}
SOURCES = {
    "av": "audio-visual map",
    "av_shuffled": "sounds shuffled",
    "random_true_box": "random true box",
    "saliency": "saliency",
    "center": "center prior",
    "object": "object prior (OGL)",
    "blend": "blend with OGL",
}
LEGEND = """\
right object: the map is higher on the object that sounds than on the silent one (chance 0.5)
swapped: the same when the frame is given its silent object's sound: the map has to move
off-screen, mismatched: AUROC of the map's peak against sounds of nothing in the picture
LocAcc (cIoU@0.5) and mean cIoU: as many pixels predicted as the sounding object has"""


def evaluate_text(document: Mapping[str, Any]) -> str:
    """Return the table of an evaluation.

    Args:
        document: What `evaluate` returned.
    """
    runs: Sequence[Mapping[str, Any]] = document["runs"]
    first = runs[0]
    lines = [
        f"{first['benchmark']}, protocol {first['protocol']}, maps {first['geometry']}: "
        f"{first['n_scored']} of {first['n_official']} clips scored",
        "",
        _row("", list(COLUMNS.values())),
    ]
    if len(runs) > 1:
        lines += [_scores(_name(run), run["scores"]["av"]) for run in runs]
        lines.append(f"mean of {len(runs)} runs")
    scores, std = document["mean"]["scores"], document["std"]["scores"]
    for source, title in SOURCES.items():
        if scores.get(source):
            lines.append(_scores(title, scores[source]))
            if source == "av" and len(runs) > 1:
                lines.append(_scores("  +- std", std[source]))
    for subset, by_source in document["mean"]["subsets"].items():
        lines.append(_scores(f"{subset} classes", by_source["av"]))
    lines += ["", LEGEND, *_remarks(runs), *document["notices"]]
    return "\n".join(lines)


def _remarks(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines about clips that are missing or were trained on."""
    lines = []
    missing = runs[0]["missing"]
    if missing:
        lines.append(f"missing: {len(missing)} test clips are not in the cache ({missing[0]}, ...)")
    for run in runs:
        if run["leaked"]:
            clean = run["leak_free"]
            accuracy = _figure(clean["scores"]["av"]["loc_acc_adaptive"]).strip()
            lines.append(
                f"leaked: {_name(run)} was trained on {len(run['leaked'])} test clips; "
                f"on the {clean['n_scored']} others LocAcc is {accuracy}"
            )
    return lines


def _name(run: Mapping[str, Any]) -> str:
    return str(run["run"]).rstrip("/").rpartition("/")[2]


def _scores(title: str, scores: Mapping[str, float | None]) -> str:
    return _row(title, [_figure(scores.get(column)) for column in COLUMNS])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _row(title: str, cells: Sequence[str]) -> str:
    return f"{title:<20}" + "".join(f"{cell:>13}" for cell in cells)
