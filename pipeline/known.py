"""Which candidates a manifest knows: a file is planned once, by whatever root it is named."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..cache.manifest import Manifest
from ..cache.segment import Line, Root
from .inputs import Candidate


@dataclass(frozen=True)
class News:
    """Candidates that a manifest does not know yet.

    Attributes:
        candidates: They, in the order given.
        roots: The manifest's roots, and behind them those that only the candidates have.
        index: Number of each root by folder; a folder that stands for a root has that root's.
    """

    candidates: list[Candidate]
    roots: list[Root]
    index: dict[str, int]


def find_new(manifest: Manifest, candidates: Sequence[Candidate], remap: Mapping[int, str]) -> News:
    """Return the candidates that have no row yet.

    Args:
        manifest: What is planned.
        candidates: What was found, sorted by path bytes.
        remap: Folders that stand for a root, by the root's number.
    """
    roots = list(manifest.roots)
    folders = [remap.get(number, root["path"]) for number, root in enumerate(roots)]
    candidates = _on_known_roots(candidates, folders)
    index = {os.path.abspath(folder): number for number, folder in enumerate(folders)}  # noqa: PTH100
    for candidate in candidates:
        if candidate.root not in index:
            index[candidate.root] = len(roots)
            device = Path(candidate.root).stat().st_dev
            roots.append(Root(path=candidate.root, device=device))
    planned = _planned(manifest, candidates, index)
    new = [candidate for candidate, known in zip(candidates, planned, strict=True) if not known]
    return News(new, roots, index)


def _on_known_roots(candidates: Sequence[Candidate], folders: Sequence[str]) -> Sequence[Candidate]:
    """Name files by a root of the manifest where one reaches them: by another they would be new.

    A later run may name a folder inside a known root, one around it, or a link to it.
    """
    known = {os.path.realpath(folder): os.path.abspath(folder) for folder in folders}  # noqa: PTH100
    moved: dict[str, list[tuple[str, str, str]]] = {}
    for root in {candidate.root for candidate in candidates} - set(known.values()):
        real = os.path.realpath(root)
        for other, folder in known.items():
            if os.path.commonpath([real, other]) in (real, other):
                moved.setdefault(root, []).append((real, other, folder))
    if not moved:
        return candidates
    rebased = []
    for candidate in candidates:
        found = (_rebase(candidate, *rule) for rule in moved.get(candidate.root, ()))
        rebased.append(next((other for other in found if other), candidate))
    return sorted(rebased, key=lambda candidate: os.fsencode(candidate.path))


def _rebase(candidate: Candidate, real: str, other: str, folder: str) -> Candidate | None:
    """Return the candidate relative to another root, None if it does not lie there.

    Args:
        candidate: Relative to its own root.
        real: Its root without links.
        other: The other root without links.
        folder: The other root as the manifest names it.
    """

    def moved(path: str) -> str | None:
        absolute = os.path.join(real, path)  # noqa: PTH118
        return absolute[len(other) + 1 :] if absolute.startswith(other + os.sep) else None

    path = moved(candidate.path) if candidate.path else ""
    audio = candidate.audio_path
    if path is None:
        return None
    if audio is not None and not os.path.isabs(audio):  # noqa: PTH117
        audio = moved(audio) or os.path.join(real, audio)  # noqa: PTH118
    return replace(candidate, root=folder, path=path, audio_path=audio)


def _planned(
    manifest: Manifest, candidates: Sequence[Candidate], index: Mapping[str, int]
) -> bytearray:
    """Flag the candidates that have a row.

    Both sides are sorted by path, so one walk along each segment does it, and millions of clips
    take no memory but the flags.
    """
    planned = bytearray(len(candidates))
    for segment in manifest.segments:
        first = 0
        for line in segment.lines():
            path = os.fsencode(line["path"])
            while first < len(candidates) and os.fsencode(candidates[first].path) < path:
                first += 1
            for at in range(first, len(candidates)):
                candidate = candidates[at]
                if candidate.path != line["path"]:
                    break
                if index[candidate.root] == line["root"] and _is_same(candidate, line):
                    planned[at] = True
    return planned


def _is_same(candidate: Candidate, line: Line) -> bool:
    """Tell whether a line of the same file plans this candidate."""
    if not candidate.path:  # no file can have the name asked for: the name is all there is
        return candidate.id == line["id"]
    if candidate.audio_path != line.get("audio_path"):
        return False
    # a file that was cut into pieces is known, whatever --segment says this time
    whole = candidate.start_s is None and candidate.seconds is None
    cut = candidate.start_s, candidate.seconds
    return whole or cut == (line.get("start_s"), line.get("seconds"))
