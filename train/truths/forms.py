"""How the scores of a kind of benchmark are shown; a benchmark's file names its `FORM`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """How a kind of benchmark is shown.

    Attributes:
        columns: Heading of each score.
        accuracy: The score that a line about leaked clips gives.
        legend: What the columns mean.
        percent: Whether figures are percent, as papers print them.
        subset_title: What a subset is called, `{}` for its name; None: by its name and its size.
        has_maps: Whether maps are scored, whose geometry counts.
    """

    columns: Mapping[str, str]
    accuracy: str
    legend: str
    percent: bool = True
    subset_title: str | None = None
    has_maps: bool = True


_LOC_ACC = """\
LocAcc: share of clips with cIoU >= 0.5, which others print as cIoU; the upper half of the map's
pixels is predicted. AUC: area under that share over thresholds 0 to 1. adaptive: as many pixels
are predicted as the truth has. Percent."""
_AP = """\
AP, max-F1: is there a source, and is it found, among sounds of nothing in the picture; by kind of
these, among as many clips that have a source.
"""
LOCALIZED = Form(
    {
        "loc_acc": "LocAcc",
        "auc": "AUC",
        "ciou_mean": "mean cIoU",
        "loc_acc_adaptive": "adaptive",
        "auc_adaptive": "AUC adapt.",
    },
    "loc_acc",
    _LOC_ACC,
)
"""Of true boxes or masks, each pair with a source in the picture."""
EXTENDED = Form(
    {
        "ap": "AP",
        "max_f1": "max-F1",
        "loc_acc": "LocAcc",
        "auc": "AUC",
        "loc_acc_adaptive": "adaptive",
    },
    "loc_acc",
    _AP + _LOC_ACC,
)
"""Of the same beside sounds of nothing in the picture."""
