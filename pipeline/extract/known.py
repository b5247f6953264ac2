"""Which candidates a manifest knows: a file is planned once, by whatever root it is named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...cache.manifest import Manifest
from ...cache.segment import Line, Root
from ...errors import InputError
from .scan import Candidate, default_id, piece_id
from .settings import ID_FROM, IdFrom


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


def find_new(
    manifest: Manifest,
    candidates: Sequence[Candidate],
    remap: Mapping[int, str],
    *,
    id_from: IdFrom = ID_FROM,
) -> News:
    """Return the candidates that have no row yet.

    Args:
        manifest: What is planned.
        candidates: What was found, sorted by path bytes.
        remap: Folders that stand for a root, by the root's number.
        id_from: How ids were made where none was given.

    Raises:
        InputError: Clips of a root that is gone have come back under another.
    """
    roots = seen_roots(manifest)
    folders = [
        os.path.abspath(remap.get(number, root["path"]))  # noqa: PTH100
        for number, root in enumerate(roots)
    ]
    index = {folder: number for number, folder in enumerate(folders)}

    def planned(named: Sequence[Candidate], asked: Sequence[Candidate]) -> bytearray:
        return _planned(manifest, folders, named, asked, id_from)

    flags = planned(candidates, candidates)
    new = [candidate for candidate, known in zip(candidates, flags, strict=True) if not known]
    others = _other_names(new, folders)
    if others:
        flags = planned([other for other, _ in others], [new[at] for _, at in others])
        known = {at for (_, at), is_known in zip(others, flags, strict=True) if is_known}
        others.sort(key=lambda other: index[other[0].root], reverse=True)
        by_known_root = {at: other for other, at in others if new[at].root not in index}
        new = [by_known_root.get(at, named) for at, named in enumerate(new) if at not in known]
        new.sort(key=lambda candidate: os.fsencode(candidate.path))
    for number, root in enumerate(roots):
        if new and root["device"] and not Path(folders[number]).is_dir():
            moved = [replace(candidate, root=folders[number]) for candidate in new]
            if any(flags := planned(moved, new)):
                folder = new[flags.index(1)].root
                raise InputError(
                    f"{folder} has clips that are known from {folders[number]}, which is gone: if "
                    f"they have moved, add --root {number}={folder}"
                )
    found = {candidate.root for candidate in new if candidate.bytes}
    for candidate in new:
        if candidate.root not in index:
            index[candidate.root] = len(roots)
            roots.append(_seen_root(candidate.root, has_clips=candidate.root in found))
    return News(new, roots, index)


def seen_roots(manifest: Manifest) -> list[Root]:
    """Return the roots of a manifest; where nothing was found before, it is looked again."""
    return [root if root["device"] else _seen_root(root["path"]) for root in manifest.roots]


def _seen_root(folder: str, *, has_clips: bool = False) -> Root:
    """Return a root as it is now; its device is 0 where nothing can be found."""
    try:
        with os.scandir(folder) as entries:
            is_used = has_clips or next(entries, None) is not None
        device = Path(folder).stat().st_dev if is_used else 0
    except OSError:  # a list may name files of any folder
        device = 0
    return Root(path=folder, device=device)


def _other_names(
    candidates: Sequence[Candidate], folders: Sequence[str]
) -> list[tuple[Candidate, int]]:
    """Name files by all other roots of the manifest that reach them.

    A run may name a folder inside a known root, one around it, or a link to it.

    Returns:
        Such names, and the position of the candidate that each is a name of; sorted by path bytes.
    """
    if not (candidates and folders):
        return []
    known: dict[str, list[str]] = {}
    for folder in dict.fromkeys(folders):
        known.setdefault(os.path.realpath(folder), []).append(folder)
    around = {above for real in known for above in _upwards(os.path.dirname(real))}  # noqa: PTH120
    reals = {}
    for root in {candidate.root for candidate in candidates}:
        real = os.path.realpath(root)
        reached = (folder for above in _upwards(real) for folder in known.get(above, ()))
        if real in around or any(folder != root for folder in reached):
            reals[root] = real
    names = [
        (name, at)
        for at, candidate in enumerate(candidates)
        if candidate.root in reals
        for name in _names(candidate, reals[candidate.root], known)
    ]
    return sorted(names, key=lambda name: os.fsencode(name[0].path))


def _upwards(folder: str) -> Iterator[str]:
    """Yield an absolute folder and all above it."""
    while True:
        yield folder
        above = os.path.dirname(folder)  # noqa: PTH120
        if above == folder:
            return
        folder = above


def _names(
    candidate: Candidate, real: str, known: Mapping[str, Sequence[str]]
) -> Iterator[Candidate]:
    """Yield a candidate relative to each known root that it lies in, but for its own.

    Args:
        candidate: Relative to its own root.
        real: Its root without links.
        known: The known roots as the manifest names them, by their folder without links.
    """
    full = os.path.join(real, candidate.path)  # noqa: PTH118
    for above in _upwards(os.path.dirname(full)):  # noqa: PTH120
        for folder in known.get(above, ()):
            if folder != candidate.root:
                inside = os.path.join(above, "")  # noqa: PTH118
                path = full.removeprefix(inside) if candidate.path else ""
                audio = candidate.audio_path
                if audio is not None:
                    audio = os.path.join(real, audio).removeprefix(inside)  # noqa: PTH118
                yield replace(candidate, root=folder, path=path, audio_path=audio)


def _planned(
    manifest: Manifest,
    folders: Sequence[str],
    named: Sequence[Candidate],
    asked: Sequence[Candidate],
    id_from: IdFrom,
) -> bytearray:
    """Flag the candidates that have a row.

    Both sides are sorted by path, so one walk along each segment does it, and millions of clips
    take no memory but the flags.

    Args:
        manifest: What is planned.
        folders: Its roots, as candidates name them.
        named: Candidates by the name to look for, sorted by path bytes.
        asked: The same as the user named them.
        id_from: How ids were made where none was given.
    """
    planned = bytearray(len(named))
    for segment in manifest.segments:
        first = 0
        for line in segment.lines():
            path = os.fsencode(line["path"])
            while first < len(named) and os.fsencode(named[first].path) < path:
                first += 1
            for at in range(first, len(named)):
                candidate = named[at]
                if candidate.path != line["path"]:
                    break
                if candidate.root == folders[line["root"]] and _is_same(candidate, line):
                    own_id = asked[at].id == default_id(asked[at].path, id_from)
                    planned[at] |= own_id or _has_id(candidate, line)
    return planned


def _is_same(candidate: Candidate, line: Line) -> bool:
    """Tell whether a line of the same file plans the same part of it."""
    if not candidate.path:  # no file can have the name asked for: the name is all there is
        return candidate.id == line["id"]
    if candidate.audio_path != line.get("audio_path"):
        return False
    # a file that was cut into pieces is known, whatever --segment says this time
    whole = candidate.start_s is None and candidate.seconds is None
    cut = candidate.start_s, candidate.seconds
    return whole or cut == (line.get("start_s"), line.get("seconds"))


def _has_id(candidate: Candidate, line: Line) -> bool:
    """Tell whether a line has the candidate's id, or is a piece of that clip."""
    is_piece = candidate.start_s is None and "start_s" in line
    return line["id"] == candidate.id or (
        is_piece and line["id"] == piece_id(candidate.id, line["start_s"])
    )
