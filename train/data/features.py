"""What is known of features that a teacher left in the cache, where they stand for an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...cache.schema import Cells as Cells  # a teacher's, as its columns say


@dataclass(frozen=True)
class Cached:
    """Features of one modality; a run keeps what its networks depend on.

    Attributes:
        teacher: Who made them.
        shape: `(C, h, w)` of a frame or `(C,)` of a sound.
        stage_version: Version of the teacher.
        weights: Digest of its weights.
        cells: Where a map's cells lie.
        image_px: Side of the square that the teacher saw frames at.
    """

    teacher: str
    shape: tuple[int, ...]
    stage_version: int
    weights: str | None
    cells: Cells = "corners"
    image_px: int = 224


def cached_of(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Cached]:
    """Read what a run's record has of its features, by modality (`image`, `audio`)."""
    return {
        modality: Cached(**{**fields, "shape": tuple(fields["shape"])})
        for modality, fields in stored.items()
    }
