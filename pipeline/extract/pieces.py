"""`--segment`: long files become clips of equal length; their durations are probed first."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...cache.addresses import is_address, joined
from ...cache.schema import MANIFEST
from ...errors import TRANSIENT, CacheUnwritableError, ClipError, Reason
from ...reading import parse_json, read_regular
from ...stages.features import FeatureParams
from ...stages.sources.staging import staged_file
from ..progress import Progress
from .candidate import Candidate, piece_id
from .lists import shown
from .rounds import run_rounds
from .settings import ExtractSettings
from .workers import decoder_child, fitness_of

_PROBE_CHUNK = 64
_LEAST_BYTES = 256
"""A piece has more: one wrong bit in a file may say that it lasts for decades."""
_MOST_PIECES = 1 << 18
"""Of a file: a month in pieces of 10 s."""


class Probed(NamedTuple):
    """What was learnt of a file's length.

    Attributes:
        path: Of the file, or its address.
        bytes: Its size.
        duration_s: None where it could not be told.
        may_pass: The reason for that, where the next try may tell it.
    """

    path: str
    bytes: int
    duration_s: float | None
    may_pass: str = ""


def pieces(
    settings: ExtractSettings,
    params: FeatureParams,
    notices: list[str],
    candidates: Sequence[Candidate],
) -> Iterator[Candidate]:
    """Cut files into pieces of `--segment` seconds; their durations are probed first.

    A file whose length could not be told for a reason that may pass is left out: as one clip it
    would be known for ever, and all but its middle lost. What people should know is added to
    `notices`.
    """
    if settings.segment_s is None:
        yield from candidates
        return
    journal = DurationJournal(settings.cache)
    left: dict[tuple[str, int], str] = {}
    whole = [c for c in candidates if c.start_s is None and c.reject is None]
    chunks = [whole[at : at + _PROBE_CHUNK] for at in range(0, len(whole), _PROBE_CHUNK)]

    def todo() -> list[int]:
        return [
            number
            for number, chunk in enumerate(chunks)
            if any(_key(c) not in journal.known and _key(c) not in left for c in chunk)
        ]

    known = len(whole) - sum(len(chunks[number]) for number in todo())
    with Progress("durations", len(whole), "files", known) as progress:

        def on_result(found: list[Probed]) -> None:
            journal.add(found)
            left.update({one[:2]: one.may_pass for one in found if one.may_pass})
            progress.advance(len(found))

        run_rounds(
            todo,
            lambda number: list(map(_key, chunks[number])),
            partial(probe, params=params, timeout_s=settings.timeout_s),
            on_result,
            workers=settings.workers,
            fitness=fitness_of(settings, params, _folders(candidates)),
            noun="group of files",
        )
    too_long = []
    for candidate in candidates:
        if candidate.start_s is not None or candidate.reject is not None:
            yield candidate
        elif _key(candidate) not in left:
            duration_s = journal.known.get(_key(candidate))
            if duration_s and not num_pieces(duration_s, settings.segment_s, candidate.bytes):
                too_long.append(_absolute(candidate))
            yield from cut_into_pieces(candidate, duration_s, settings.segment_s)
    notices.extend(_told(too_long, left))


def _told(too_long: Sequence[str], left: Mapping[tuple[str, int], str]) -> Iterator[str]:
    """Say which files were not cut, and which are not planned."""
    if too_long:
        yield f"{_first(too_long)} not cut: so few bytes cannot last as long as they say"
    if left:
        reasons = ", ".join(sorted(set(left.values())))
        yield (
            f"{_first(sorted(path for path, _ in left))} not planned, as the length cannot be read "
            f"now ({reasons}): the same command tries again"
        )


def _first(paths: Sequence[str]) -> str:
    name = shown(paths[0])
    return f"{name} is" if len(paths) == 1 else f"{name} and {len(paths) - 1} more are"


def _folders(candidates: Sequence[Candidate]) -> list[str]:
    """Return what workers on other hosts have to reach: folders, and of each address a clip."""
    found = {clip.root: _absolute(clip) for clip in candidates if clip.bytes}
    return sorted(path if is_address(root) else root for root, path in found.items())


def _absolute(candidate: Candidate) -> str:
    return joined(candidate.root, candidate.path)


def _key(candidate: Candidate) -> tuple[str, int]:
    return _absolute(candidate), candidate.bytes


def probe(files: list[tuple[str, int]], params: FeatureParams, timeout_s: float) -> list[Probed]:
    """Probe durations; where a file does not tell, extraction says why."""
    child = decoder_child(params, timeout_s)

    def probed(path: str, size: int, attempts: int = 2) -> Probed:
        try:
            with staged_file(path) as file:
                return Probed(path, size, child.duration(file))
        except ClipError as error:
            if error.reason not in TRANSIENT or _is_absent(path, size, error.reason):
                return Probed(path, size, None)
            if attempts > 1:
                return probed(path, size, attempts - 1)
            return Probed(path, size, None, error.reason)

    return [probed(path, size) for path, size in files]


def _is_absent(path: str, size: int, reason: Reason) -> bool:
    """Whether planning did not see a file either; at an address it may not have seen its size."""
    return not size and (reason == Reason.MISSING or not is_address(path))


def num_pieces(duration_s: float, piece_s: float, num_bytes: int) -> int:
    """Return how many pieces a file has; 0 where it is said to be longer than it can be.

    Args:
        duration_s: Its length, as it says.
        piece_s: That of a piece.
        num_bytes: Its size; 0 where that is not known.
    """
    most = min(_MOST_PIECES, num_bytes // _LEAST_BYTES) if num_bytes else _MOST_PIECES
    count = duration_s / piece_s + 0.5
    return max(1, int(count)) if count < max(2, most + 1) else 0


def cut_into_pieces(
    candidate: Candidate, duration_s: float | None, piece_s: float
) -> list[Candidate]:
    """Cut a file into pieces of equal length; a tail under half a piece is dropped.

    A file whose duration is unknown, or absurd, or under one and a half pieces long, gives at least
    one piece, so that it ends as done or as failed with its reason.
    """
    count = 0 if duration_s is None else num_pieces(duration_s, piece_s, candidate.bytes)
    if not count:
        return [candidate]
    return [
        replace(
            candidate,
            id=piece_id(candidate.id, number * piece_s),
            start_s=number * piece_s,
            seconds=piece_s,
        )
        for number in range(count)
    ]


class DurationJournal:
    """Durations probed so far, kept in a file so that a killed planning pass goes on.

    Each line is `[path, bytes, duration]`; what is none is ignored, a torn last line too. A file
    that told no duration is not kept: it may do so the next time (older versions wrote null).
    """

    def __init__(self, cache: Path) -> None:
        """Read what an earlier pass left.

        Raises:
            CacheUnwritableError: Something else has the journal's name.
        """
        self._path = cache / MANIFEST / "durations.journal"
        self.known: dict[tuple[str, int], float | None] = {}
        try:
            content = read_regular(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.EISDIR):
                raise
            raise CacheUnwritableError(
                f"{self._path}: not a regular file; remove it, then run the same command again"
            ) from None
        for text in content.splitlines():
            with suppress(ValueError, TypeError):
                path, size, duration_s = parse_json(text)
                kinds = type(path) is str and type(size) is int
                if kinds and type(duration_s) in (int, float) and 0 <= duration_s < math.inf:
                    self.known[path, size] = duration_s

    def add(self, entries: Iterable[Probed]) -> None:
        """Append probed files."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            for path, size, duration_s, may_pass in entries:
                if not may_pass:
                    self.known[path, size] = duration_s
                if duration_s is not None:
                    file.write(b"\n" + json.dumps([path, size, duration_s]).encode("ascii"))

    def remove(self) -> None:
        """Forget the journal: its content is in the manifest now."""
        self._path.unlink(missing_ok=True)
