"""What the papers print for a benchmark, to stand beside a run's scores."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("published.csv")


def published_rows(benchmark: str) -> list[dict[str, Any]]:
    """Return the rows that papers publish for a benchmark.

    They are as printed, each by its paper's own protocol, and on the clips that its authors had.

    Args:
        benchmark: Its name.

    Returns:
        One record per row: `method`, `trained_on`, `source` (paper and table), `main` (whether the
        row belongs to the table that most papers quote) and `scores`, shares of 1 as ours are.
    """
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [
            {
                "method": row["method"],
                "trained_on": row["trained_on"],
                "source": row["source"],
                "main": row["main"] == "x",
                "scores": _scores(row["scores"]),
            }
            for row in csv.DictReader(file)
            if row["benchmark"] == benchmark
        ]


def _scores(text: str) -> dict[str, float]:
    """Parse `loc_acc=37.79 auc=39.40`, percent."""
    pairs = (word.split("=") for word in text.split())
    return {name: round(float(value) / 100, 6) for name, value in pairs}
