"""Sounds that are made, not recorded: silence, and white noise as loud as no clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MadeName = Literal["silence", "noise"]
MADE: tuple[MadeName, ...] = ("silence", "noise")


@dataclass(frozen=True)
class Made:
    """A kind of made sound.

    Attributes:
        name: `silence`, zeros; or `noise`, independent samples of deviation 1 that are not clipped
            (Juanola et al., ICASSP 2025, whose code draws them so).
        seed: Of noise, which also depends on the name it is made for, and on nothing else.
    """

    name: MadeName
    seed: int = 0

    @property
    def same_for_all(self) -> bool:
        """Whether everyone hears the same."""
        return self.name == "silence"

    @property
    def key(self) -> str:
        """What maps with it depend on."""
        return self.name if self.same_for_all else f"{self.name} {self.seed}"

    def sounds(self, names: Sequence[str], num_samples: int) -> Iterator[NDArray[np.float32]]:
        """Yield a sound `(num_samples,)` for each name; silence once."""
        if self.same_for_all:
            yield np.zeros(num_samples, np.float32)
            return
        for name in names:
            yield _rng(self.seed, name).standard_normal(num_samples, np.float32)


def _rng(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
