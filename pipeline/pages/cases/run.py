"""`avpipe cases`: what a run makes of clips that are hard, beside what one should expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....cache.writer import remove_orphans
from ....stages.media import decode_clip
from ....stages.synth.case_worlds import CaseWorld
from ....stages.synth.hard import KINDS, Case, Kind
from ... import output
from ...extract.folders import make_films_folder
from ...output import Document
from ...watch import watch
from ..cards.run import write_result
from .sheet import HEAD, draw_cases, page_of_cases

if TYPE_CHECKING:
    from ....train.nets.geometry import Geometry
    from ....train.runs.localizer import Localizer


@dataclass(frozen=True)
class MappedClip:
    """A clip of a case with its map.

    Attributes:
        case: What it is.
        video: The MP4 file.
        frame: `(H, W, 3)` uint8 RGB, its middle.
        heat: `(H, W)` float32 localization map, cosines.
        heard: Names of the classes that are heard.
    """

    case: Case
    video: bytes
    frame: NDArray[np.uint8]
    heat: NDArray[np.float32]
    heard: tuple[str, ...]

    @property
    def peak(self) -> float:
        """The map's highest value."""
        return float(self.heat.max())

    @property
    def is_found(self) -> bool | None:
        """Whether the peak lies in a box that sounds; None where nothing does."""
        if not len(self.case.sounding):
            return None
        height, width = self.heat.shape
        row, column = np.unravel_index(self.heat.argmax(), self.heat.shape)
        x, y = (column + 0.5) / width, (row + 0.5) / height
        return any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in self.case.sounding)


def make_gallery(
    localizer: Localizer, world: CaseWorld, run: Path, out: Path, *, each: int, geometry: Geometry
) -> dict[str, Any]:
    """Make the clips, localize their sounds, write page and picture; return `avpipe.cases/1`.

    Args:
        localizer: The run.
        world: The synthetic world that it was trained in.
        run: What the run is called.
        out: Folder for the clips, the page and the picture.
        each: Clips of each case.
        geometry: Where a map's cells lie.

    Raises:
        CacheUnwritableError: `out` cannot be written.
        MissingDependencyError: Weights of the run's teachers are missing.
    """
    localizer.load_teachers()
    make_films_folder(out)
    remove_orphans(out)
    cases = world.plan(each)
    shown = []
    with watch("cases") as update:
        for number, case in enumerate(cases):
            update(number, len(cases))
            video = world.encode(case)
            write_result(out / f"{case.name}.mp4", video)
            names = tuple(world.classes[one].name for one in case.heard)
            clip = decode_clip(str(out / f"{case.name}.mp4"))
            size = (clip.frame.shape[0], clip.frame.shape[1])
            heat = localizer.localize(
                clip.frame, clip.waveform, clip.rate_hz, size=size, geometry=geometry
            )
            shown.append(MappedClip(case, video, clip.frame, heat, names))
        update(len(cases), len(cases))
    document = _document(run, out, shown)
    write_result(out / "cases.png", draw_cases(shown))
    write_result(out / "cases.html", page_of_cases(document, shown).encode())
    return document


def _document(run: Path, out: Path, shown: Sequence[MappedClip]) -> dict[str, Any]:
    return {
        "schema": "avpipe.cases/1",
        "run": str(run),
        "page": str(out / "cases.html"),
        "picture": str(out / "cases.png"),
        "cases": [_summary(kind, shown) for kind in KINDS],
        "clips": [
            {
                "name": one.case.name,
                "case": one.case.kind.name,
                "heard": list(one.heard),
                "peak": round(one.peak, 4),
                "found": one.is_found,
            }
            for one in shown
        ],
    }


def _summary(kind: Kind, shown: Sequence[MappedClip]) -> dict[str, Any]:
    clips = [one for one in shown if one.case.kind == kind]
    found = [one.is_found for one in clips if one.is_found is not None]
    return {
        "case": kind.name,
        "clips": len(clips),
        "found": sum(found) if found else None,
        "peak": round(float(np.mean([one.peak for one in clips])), 4),
    }


def cases_text(document: Document) -> str:
    """Render `avpipe cases`."""
    rows = [
        (one["case"], one["clips"], "-" if one["found"] is None else one["found"],
         f"{one['peak']:.3f}")
        for one in document["cases"]
    ]  # fmt: skip
    note = "found: the peak lies in a box that sounds"
    return "\n".join([output.table(HEAD, rows), note, "", document["page"], document["picture"]])
