"""What a run sees where it hears something: features of a frame's best cells, for neighbours.

Frames that are compared whole are alike by their backgrounds and by things that are silent. Here a
clip is what its own sound finds in its frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import EXTRACT, HINTS
from ...cache.store import Cache
from .checkpoint import require_checkpoint, weights_digest
from .record import RunRecord, one_run, read_record

VERSION = 1


@dataclass(frozen=True)
class RunRegions:
    """A run that is asked for regions.

    Attributes:
        folder: The run's folder.
        record: Its record.
        checkpoint: The folder of its newest weights, those that are used.
        digest: Their sha256 (hex).
    """

    folder: Path
    record: RunRecord
    checkpoint: Path
    digest: str

    @property
    def params(self) -> Mapping[str, Any]:
        """What decides the values beside the weights."""
        return {"share": self.record.recipe.pooling_share}

    @property
    def reads(self) -> list[str]:
        """The stages that they are made from."""
        return [EXTRACT, *(f"{HINTS}/{one.teacher}" for one in self.record.features.values())]

    def open(self, device: str) -> Callable[[Cache, NDArray[np.int64]], NDArray[np.float32]]:
        """Load the run: from clips, `(n,)` rows, to `(n, C)`; see `Localizer.region_features`.

        Raises:
            InputError: The checkpoint is gone.
            CacheCorruptError: It is damaged.
        """
        from .localizer import load_same

        return load_same(self.folder, self.checkpoint, self.digest, device).region_features


def regions_of_run(folder: Path) -> RunRegions:
    """Open a run for its regions; its weights are read when they are needed.

    Raises:
        InputError: There is no run, it has no checkpoint, or it only hears.
        CacheCorruptError: It is damaged.
    """
    from ..objectives import require_sight  # torch: no mistyped name has to wait for it

    run = one_run(folder)
    record = read_record(run)
    require_sight(record.recipe.objective)
    checkpoint, _ = require_checkpoint(run, record)
    return RunRegions(run, record, checkpoint, weights_digest(checkpoint))
