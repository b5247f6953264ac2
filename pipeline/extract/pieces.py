"""`--segment`: long files become clips of equal length; their durations are probed first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...cache.addresses import is_address, joined
from ...cache.schema import MANIFEST
from ...errors import TRANSIENT, ClipError
from ...reading import parse_json
from ...stages.features import FeatureParams
from ...stages.sources.staging import staged_file
from ..progress import Progress
from .candidate import Candidate, piece_id
from .rounds import run_rounds
from .settings import ExtractSettings
from .workers import decoder_child, fitness_of

_PROBE_CHUNK = 64


def pieces(
    settings: ExtractSettings, params: FeatureParams, candidates: Sequence[Candidate]
) -> Iterator[Candidate]:
    """Cut files into pieces of `--segment` seconds; their durations are probed first."""
    if settings.segment_s is None:
        yield from candidates
        return
    journal = DurationJournal(settings.cache)
    whole = [c for c in candidates if c.start_s is None]
    chunks = [whole[at : at + _PROBE_CHUNK] for at in range(0, len(whole), _PROBE_CHUNK)]

    def todo() -> list[int]:
        return [
            number
            for number, chunk in enumerate(chunks)
            if any((_absolute(c), c.bytes) not in journal.known for c in chunk)
        ]

    known = len(whole) - sum(len(chunks[number]) for number in todo())
    with Progress("durations", len(whole), "files", known) as progress:

        def on_result(found: list[tuple[str, int, float | None]]) -> None:
            journal.add(found)
            progress.advance(len(found))

        run_rounds(
            todo,
            lambda number: [(_absolute(c), c.bytes) for c in chunks[number]],
            partial(probe, params=params, timeout_s=settings.timeout_s),
            on_result,
            workers=settings.workers,
            fitness=fitness_of(settings, params, _folders(candidates)),
            noun="group of files",
        )
    for candidate in candidates:
        duration_s = journal.known.get((_absolute(candidate), candidate.bytes))
        if candidate.start_s is None:
            yield from cut_into_pieces(candidate, duration_s, settings.segment_s)
        else:
            yield candidate


def _folders(candidates: Sequence[Candidate]) -> list[str]:
    """Return what workers on other hosts have to reach: folders, and of each address a clip."""
    found = {clip.root: _absolute(clip) for clip in candidates if clip.bytes}
    return sorted(path if is_address(root) else root for root, path in found.items())


def _absolute(candidate: Candidate) -> str:
    return joined(candidate.root, candidate.path)


def probe(
    files: list[tuple[str, int]], params: FeatureParams, timeout_s: float
) -> list[tuple[str, int, float | None]]:
    """Probe durations; None where the file does not tell (extraction then says why)."""
    child = decoder_child(params, timeout_s)

    def duration_s(path: str, attempts: int = 2) -> float | None:
        try:
            with staged_file(path) as file:
                return child.duration(file)
        except ClipError as error:
            again = error.reason in TRANSIENT and attempts > 1
            return duration_s(path, attempts - 1) if again else None

    return [(path, size, duration_s(path)) for path, size in files]


def cut_into_pieces(
    candidate: Candidate, duration_s: float | None, piece_s: float
) -> list[Candidate]:
    """Cut a file into pieces of equal length; a tail under half a piece is dropped.

    A file whose duration is unknown, or under one and a half pieces long, gives at least one
    piece, so that it ends as done or as failed with its reason.
    """
    if duration_s is None:
        return [candidate]
    count = max(1, int(duration_s / piece_s + 0.5))
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

    Each line is `[path, bytes, duration or null]`; a torn last line is ignored.
    """

    def __init__(self, cache: Path) -> None:
        """Read what an earlier pass left."""
        self._path = cache / MANIFEST / "durations.journal"
        self.known: dict[tuple[str, int], float | None] = {}
        if self._path.exists():
            for text in self._path.read_bytes().splitlines():
                with suppress(ValueError, TypeError):
                    path, size, duration_s = parse_json(text)
                    self.known[path, size] = duration_s

    def add(self, entries: Iterable[tuple[str, int, float | None]]) -> None:
        """Append probed files."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            for path, size, duration_s in entries:
                self.known[path, size] = duration_s
                file.write(b"\n" + json.dumps([path, size, duration_s]).encode("ascii"))

    def remove(self) -> None:
        """Forget the journal: its content is in the manifest now."""
        self._path.unlink(missing_ok=True)
