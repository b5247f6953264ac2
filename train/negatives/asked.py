"""What `evaluate --negatives` names."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UsageError
from ..benchmarks import Benchmark, WithSources
from .made import MADE

OFFSCREEN = "offscreen"
"""The sound of another clip, of no class in the picture."""
OWN = "own"
"""The negatives that a benchmark lists itself."""
KINDS = (*MADE, OFFSCREEN, OWN)


@dataclass(frozen=True)
class Asked:
    """What `--negatives` names.

    Attributes:
        kinds: Of `KINDS`.
        seed: Of noise, of whose sound is borrowed, and of the clips that thresholds are from.
    """

    kinds: tuple[str, ...] = ()
    seed: int = 0

    def require_fit(self, name: str, benchmark: Benchmark) -> None:
        """Check that a benchmark has what the kinds ask for.

        Raises:
            UsageError: It has not.
        """
        if not self.kinds:
            return
        if not isinstance(benchmark, WithSources):
            raise UsageError(f"--negatives goes with maps of one sound each, not with {name}")
        if OWN in self.kinds and not benchmark.sources().own:
            raise UsageError(
                f"--negatives own: {name} lists no sounds of nothing in the picture; silence, "
                "noise and offscreen are made for any benchmark"
            )


NO_NEGATIVES = Asked()


def parse_kinds(text: str | None, seed: int = 0) -> Asked:
    """Parse `--negatives silence,noise`.

    Raises:
        UsageError: There is no such kind, or one comes twice.
    """
    kinds = tuple(word.strip() for word in text.split(",")) if text else ()
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UsageError(f"--negatives {unknown[0]}: expected some of {', '.join(KINDS)}")
    if len(set(kinds)) < len(kinds):
        raise UsageError(f"--negatives {text}: a kind comes twice")
    return Asked(kinds, seed)
