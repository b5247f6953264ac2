"""Which candidates a manifest knows: a file is planned once, by whatever root it is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from operator import eq
from pathlib import Path

from ...advice import quoted
from ...cache.addresses import is_address
from ...cache.manifest import Manifest
from ...cache.segment import Line, Root
from ...errors import REFUSALS, InputError
from ...stages.sources.staging import is_gone
from .candidate import Candidate, candidate_text, default_id, path_key, piece_id
from .settings import ID_FROM, IdFrom


@dataclass(frozen=True)
class News:
    """Candidates that a manifest does not know yet.

    Attributes:
        candidates: They, in the order given.
        roots: The manifest's roots, and behind them those that only the candidates have.
        index: Number of each root by folder; a folder that stands for a root has that root's.
        again: Ids of those that failed, and at whose address other content lies now.
        changed: Clips that are known, did not fail, and at whose address other content lies now.
    """

    candidates: list[Candidate]
    roots: list[Root]
    index: dict[str, int]
    again: set[str] = field(default_factory=set)
    changed: list[Candidate] = field(default_factory=list)


def find_new(
    manifest: Manifest,
    candidates: Sequence[Candidate],
    remap: Mapping[int, str],
    *,
    id_from: IdFrom = ID_FROM,
    failed_rows: Callable[[], Set[int]] = frozenset,
    cuts: bool = False,
) -> News:
    """Return the candidates that have no row yet, or failed and have changed since.

    Args:
        manifest: What is planned.
        candidates: What was found, sorted by path bytes.
        remap: Folders that stand for a root, by the root's number.
        id_from: How ids were made where none was given.
        failed_rows: Called for the rows that failed where something has changed.
        cuts: Whether files will be cut: one that failed whole and has another size now is new.

    Raises:
        InputError: Clips of a root that is gone have come back under another.
    """
    planned = _Planned.of(manifest, remap, id_from, cuts)
    new = planned.without_rows(candidates)
    new = _unknown_by_other_names(planned, new)
    changed = dict(planned.changed)
    _refuse_moved(planned, new)
    failed = failed_rows() if changed else frozenset[int]()
    again = [clip for row, clip in changed.items() if row in failed]
    if again:
        new = sorted([*new, *again], key=lambda candidate: os.fsencode(candidate.path))
    found = _with_roots(planned, new)
    found.again.update(clip.id for clip in again)
    found.changed.extend(clip for row, clip in changed.items() if row not in failed)
    return found


@dataclass(frozen=True)
class _Planned:
    """What a manifest has planned, and where its roots lie now.

    Attributes:
        manifest: It.
        roots: Its roots; where nothing was found before, as they are now.
        folders: The folder of each, which is another one where it was remapped.
        index: Number of each root by that folder.
        id_from: How ids were made where none was given.
        cuts: Whether files will be cut.
        changed: By the row of what was planned, what is found in its place.
    """

    manifest: Manifest
    roots: list[Root]
    folders: list[str]
    index: dict[str, int]
    id_from: IdFrom
    cuts: bool
    changed: dict[int, Candidate] = field(default_factory=dict)

    @classmethod
    def of(
        cls, manifest: Manifest, remap: Mapping[int, str], id_from: IdFrom, cuts: bool
    ) -> _Planned:
        """Find the roots of a manifest, `remap` says which are elsewhere now."""
        roots = seen_roots(manifest)
        folders = [_absolute(remap.get(number, root["path"])) for number, root in enumerate(roots)]
        # Two roots may have moved into one folder: its clips are looked for under both, and what
        # is new there joins the later one.
        index = {folder: number for number, folder in enumerate(folders)}
        return cls(manifest, roots, folders, index, id_from, cuts)

    def without_rows(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return those that have no row by the names they have."""
        flags = self.has_row(candidates, candidates)
        return [one for one, known in zip(candidates, flags, strict=True) if not known]

    def has_row(self, named: Sequence[Candidate], asked: Sequence[Candidate]) -> bytearray:
        """Flag the candidates that have a row.

        Both sides are sorted by path, so one walk along each segment does it, and millions of
        clips take no memory but the flags.

        Args:
            named: Candidates by the name to look for, sorted by path bytes.
            asked: The same as the user named them.
        """
        flags = bytearray(len(named))
        if not named:
            return flags
        key = path_key(named)
        for segment in self.manifest.segments:
            first = 0  # of the candidates, the first whose path does not lie before the line's
            for number, texts in segment.blocks():
                begin = first + flags[first] if first < len(named) else first
                end = begin + len(texts)
                if self._are_written(texts, named[begin : end + 1]):
                    flags[begin:end] = b"\1" * len(texts)
                    first = end
                    continue
                lines = segment.lines(number, number + len(texts))
                for row, line in enumerate(lines, segment.first_row + number):
                    path = line["path"]
                    place = key(path)
                    while first < len(named) and key(named[first].path) < place:
                        first += 1
                    # several candidates may have this path: other roots, cut, with other sound
                    for at in range(first, len(named)):
                        if named[at].path != path:
                            break
                        if flags[at] and named[at].etag is None:
                            continue
                        if self._is_of(line, named[at], asked[at]):
                            flags[at] = 1
                            has_changed = _has_changed(named[at], line, self.cuts)
                            if has_changed and row not in self.manifest.retries:
                                self.changed[row] = named[at]
        return flags

    def _are_written(self, texts: Sequence[bytes], named: Sequence[Candidate]) -> bool:
        """Whether candidates would be written as these very lines, one for each.

        Then nothing has to be parsed, as where a list of millions is given again.

        Args:
            texts: Lines as they are written.
            named: As many candidates and the next one, if there is one.
        """
        if len(named) < len(texts) or len({one.path for one in named}) < len(named):
            return False  # of one path a line may be the row of several
        return all(map(eq, texts, map(self._text, named)))

    def _text(self, one: Candidate) -> bytes | None:
        """Return a candidate's line, by the root that it would join; None if that is not plain."""
        root = self.index.get(one.root)
        return None if root is None or one.reject is not None else candidate_text(one, root)

    def _is_of(self, line: Line, named: Candidate, asked: Candidate) -> bool:
        """Whether a line of the same path is the candidate's row."""
        if named.root != self.folders[line["root"]] or not _is_same(named, line):
            return False
        # An id that the user gave asks for a clip of its own. One made of the file's name does
        # not: by another root, or with another --id-from, the same file has another.
        return _has_id(named, line) or asked.id == default_id(asked.path, self.id_from)


def _unknown_by_other_names(planned: _Planned, new: list[Candidate]) -> list[Candidate]:
    """Leave out the candidates that have a row by another name, of another root.

    What is left is named by the root that reaches it and is known, so that no second root is made
    of a folder inside one, around one, or linked to one.
    """
    others = _other_names(new, planned.folders)
    if not others:
        return new
    flags = planned.has_row([name for name, _ in others], [new[at] for _, at in others])
    known = {at for (_, at), has_row in zip(others, flags, strict=True) if has_row}
    # Of several known roots the first stands: it is the last to be written here.
    others.sort(key=lambda other: planned.index[other[0].root], reverse=True)
    by_known_root = {at: name for name, at in others if new[at].root not in planned.index}
    left = [by_known_root.get(at, one) for at, one in enumerate(new) if at not in known]
    left.sort(key=lambda candidate: os.fsencode(candidate.path))  # the names are others now
    return left


def _refuse_moved(planned: _Planned, new: Sequence[Candidate]) -> None:
    """Stop where clips have moved: under a second root they would all be failed duplicates.

    Raises:
        InputError: A root that held clips is gone, and new candidates would have rows below it.
    """
    for number, root in enumerate(planned.roots):
        gone = planned.folders[number]
        if not new or not root["device"] or (not is_address(gone) and Path(gone).exists()):
            continue
        back = [replace(candidate, root=gone) for candidate in new]
        flags = planned.has_row(back, new)
        if any(flags) and (not is_address(gone) or is_gone(gone)):
            folder = new[flags.index(1)].root
            raise InputError(
                f"{folder} has clips that are known from {gone}, which is gone: if they have "
                f"moved, add --root {quoted(f'{number}={folder}')}"
            )


def _with_roots(planned: _Planned, new: list[Candidate]) -> News:
    """Number the roots that only new candidates have, behind those of the manifest."""
    roots, index = list(planned.roots), dict(planned.index)
    found = {candidate.root for candidate in new if candidate.bytes}
    for folder in dict.fromkeys(candidate.root for candidate in new):
        if folder not in index:
            index[folder] = len(roots)
            roots.append(_seen_root(folder, has_clips=folder in found))
    return News(new, roots, index)


def seen_roots(manifest: Manifest) -> list[Root]:
    """Return the roots of a manifest; where nothing was found before, it is looked again."""
    return [root if root["device"] else _seen_root(root["path"]) for root in manifest.roots]


def _seen_root(folder: str, *, has_clips: bool = False) -> Root:
    """Return a root as it is now; its device is 0 where nothing can be found.

    Raises:
        OSError: The folder is there, and its disk does not answer now: what the manifest says of a
            root, it says for ever.
    """
    if is_address(folder):  # it lies on no device of this machine
        return Root(path=folder, device=int(has_clips))
    try:
        is_used = has_clips or Path(folder).is_file() or _holds_something(folder)  # a file: a tar
        device = Path(folder).stat().st_dev if is_used else 0
    except OSError as error:
        if has_clips or error.errno in REFUSALS:
            raise
        device = 0  # a list may name files of any folder
    return Root(path=folder, device=device)


def _holds_something(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is not None


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
        known.setdefault(_real(folder), []).append(folder)
    around = {above for real in known for above in _upwards(os.path.dirname(real))}  # noqa: PTH120
    reals = {}
    for root in {candidate.root for candidate in candidates}:
        real = _real(root)
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


def _absolute(root: str) -> str:
    return root if is_address(root) else os.path.abspath(root)  # noqa: PTH100


def _real(root: str) -> str:
    return root if is_address(root) else os.path.realpath(root)


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


def _has_changed(candidate: Candidate, line: Line, cuts: bool) -> bool:
    """Tell whether a host, or a tar, has other content now than was planned.

    So has a folder by the size of a file that will be cut.
    """
    if candidate.start_s != line.get("start_s"):
        return False
    if candidate.etag is None:
        return cuts and candidate.start_s is None and candidate.bytes not in (0, line["bytes"])
    return (candidate.bytes, candidate.etag) != (line["bytes"], line.get("etag"))


def _has_id(candidate: Candidate, line: Line) -> bool:
    """Tell whether a line has the candidate's id, or is a piece of that clip."""
    is_piece = candidate.start_s is None and "start_s" in line
    return line["id"] == candidate.id or (
        is_piece and line["id"] == piece_id(candidate.id, line["start_s"])
    )
