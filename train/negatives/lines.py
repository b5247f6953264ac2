"""What the table of `evaluate` says about sounds of nothing in the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NegativeFigures = Mapping[str, Any]

NEGATIVE_ALL = {
    "threshold": "threshold",
    "f": "F",
    "f_auc": "F_AUC",
    "ciou_mean": "mean cIoU",
    "auc": "AUC",
}
NEGATIVE_KIND = {
    "pia": "pIA",
    "auc_n": "AUC_N",
    "tnr": "TNR",
    "tnr_05": "TNR 5 %",
    "alike": "alike",
}
LEGEND = """\
one threshold for all maps. pIA: share of the picture predicted at a sound of nothing in it; AUC_N:
area under the share of those with pIA <= t; TNR: share of them with no pixel predicted, or at most
5 % of them; alike: IoU with the prediction for the picture's own sound. F, F_AUC: harmonic means of
mean cIoU and 1 - pIA, of AUC and AUC_N. Percent, but for the threshold, a cosine."""


def negative_lines(
    groups: list[tuple[str, NegativeFigures]], told: NegativeFigures
) -> Iterator[str]:
    """Yield the lines about negatives.

    Args:
        groups: Of each row its title and its figures by threshold, means over runs.
        told: How the first run's came about (`run.score_negatives`).
    """
    calibration = told["calibration"]
    yield ""
    yield (
        f"sounds of nothing in the picture: {', '.join(told['kinds'])} (seed {told['seed']}); "
        f"thresholds are from {calibration['maps']:,} maps of {calibration['clips']:,} clips "
        f"({calibration['from']}; {', '.join(calibration['kinds'])}):"
    )
    yield from (f"  {line}" for line in draw_lines(told))
    for name, rule in told["rules"].items():
        yield f"  {name}: {rule}"
    for title, levels in groups:
        for name, figures in levels.items():
            if "threshold" in figures:
                yield from _level(f"{title}, {name}", figures)
            else:
                yield f"{title}, {name}: {_row(figures, {'loc_acc': 'LocAcc', 'auc': 'AUC'})}"
    yield LEGEND
    if not told["classes_known"] and "offscreen" in told["kinds"]:
        yield "offscreen: classes are not known, so a borrowed sound may be of the picture's class"


def draw_lines(told: NegativeFigures) -> Iterator[str]:
    """Yield what a deviation beside a figure is of, for each kind that was drawn several times."""
    for kind, num in told.get("draws", {}).items():
        if num > 1:
            yield f"{kind}: mean and standard deviation of {num} draws of whose sound it is"


def _level(title: str, figures: NegativeFigures) -> Iterator[str]:
    std = figures.get("std", {})
    yield f"{title}: {_row(figures, NEGATIVE_ALL, std)}"
    for kind, own in figures.items():
        if isinstance(own, Mapping) and kind != "std":
            yield f"  {kind:<10}{_row(own, NEGATIVE_KIND, std.get(kind, {}))}"


def _row(
    figures: NegativeFigures, names: Mapping[str, str], std: NegativeFigures | None = None
) -> str:
    return "  ".join(
        f"{title} {negative_text(key, figures[key], (std or {}).get(key))}"
        for key, title in names.items()
        if key in figures
    )


def negative_text(key: str, value: float | None, std: float | None = None) -> str:
    """Write a figure, and its deviation over draws where there are several."""
    if value is None:
        return "-"
    if key == "threshold":
        return f"{value:.4f}"
    return f"{100 * value:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")
