"""Scores over a range of what is a choice: pixels predicted, the cIoU that counts (SLAVC, figures).

Figure 2 of SLAVC varies the share of the pixels that is predicted, figure 3 the cIoU from which on
a source counts as found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...errors import UsageError
from ..benchmarks import Benchmark, MapSource, Scored, Scores
from ..truths.annotated import Annotated, AnnotatedScores
from .protocols import Protocol

Sweep = dict[str, dict[str, Scores]]
"""By value, then by what makes the maps."""


@dataclass(frozen=True)
class Sweeps:
    """What is varied.

    Attributes:
        predicted: Shares of the pixels that are predicted.
        levels: Values of cIoU from which on a source is localized.
    """

    predicted: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def require_boxes(self, name: str, benchmark: Benchmark) -> None:
        """Check that a benchmark is of the kind whose choices these are.

        Raises:
            UsageError: It is not.
        """
        option = "--predicted" if self.predicted else "--at"
        if (self.predicted or self.levels) and not isinstance(benchmark, Annotated):
            raise UsageError(f"{option} goes with benchmarks of boxes or masks, not with {name}")

    def of(
        self,
        test: Benchmark,
        sources: Mapping[str, tuple[MapSource, Scored]],
        protocol: Protocol,
    ) -> dict[str, Sweep]:
        """Score sources at each value.

        Args:
            test: The benchmark.
            sources: Maps by name, and what they score.
            protocol: How.

        Returns:
            `predicted` and `at`, each empty where nothing is varied.
        """
        predicted: Sweep = {f"{share:g}": {} for share in self.predicted}
        levels: Sweep = {f"{level:g}": {} for level in self.levels}
        for name, (maps, scored) in sources.items():
            for share in self.predicted:
                found = test.score(maps, replace(protocol, predicted=share), scored.confidence)
                predicted[f"{share:g}"][name] = found.headline()[1]
            if isinstance(scored, AnnotatedScores):
                for level in self.levels:
                    levels[f"{level:g}"][name] = scored.at(level)
        return {"predicted": predicted, "at": levels}


NO_SWEEPS = Sweeps()
