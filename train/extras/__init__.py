"""What some benchmarks score beside cIoU, a file each: masks, groups of sounds, class maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..score.binarize import Floats, Maps
from ..score.protocols import Protocol as Rules

if TYPE_CHECKING:
    from ..score.scoring import Measured
    from ..truths.annotated import AnnotatedItem


class Extra(Protocol):
    """What a benchmark of boxes or masks scores beside `score.scoring.summary`."""

    @property
    def joint(self) -> bool:
        """Whether a group counts as one: seen together, and left out where an item is missing."""

    def look(
        self, maps: Maps, truths: NDArray[Any], items: Sequence[AnnotatedItem], rules: Rules
    ) -> Floats:
        """Keep of maps what the scores need.

        Args:
            maps: `(n, H, W)`.
            truths: `(n, H, W)` in [0, 1], or bool.
            items: What they are of.
            rules: The protocol.

        Returns:
            `(n, k)`, a row for each map.
        """

    def scores(
        self, rows: Floats, measured: Measured, items: Sequence[AnnotatedItem], rules: Rules
    ) -> dict[str, float]:
        """Reduce the rows of the items that count to scores, by name."""


def groups_of(items: Sequence[AnnotatedItem]) -> list[tuple[str, int]]:
    """Return what each item is counted with: its group, or itself alone.

    An item that is named again belongs to a second copy of its group, whose number goes with it.
    """
    copies: Counter[tuple[object, ...]] = Counter()
    found = []
    for number, item in enumerate(items):
        if not item.group:
            found.append((f"{number}", 0))
            continue
        found.append((item.group, copies[item.pair, item.source]))
        copies[item.pair, item.source] += 1
    return found


def number_groups(names: Sequence[object]) -> tuple[NDArray[np.int64], int]:
    """Return the number of each one's group, by first members, and how many groups there are."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64), len(numbers)
