"""The manifest: which clip has which row, for ever.

A row is a clip's line number over all segments. New files, and retries of failed clips, become a
new segment.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

from .schema import FORMAT, MANIFEST, canonical_json, damaged, finite_json, opened
from .segment import Line, Root, Segment
from .writer import temporary

_WRITTEN_AT_ONCE = 1024


def default_shard_clips(num_clips: int) -> int:
    """Return clips per shard: the power of two below N/64, within 16..256.

    About 64 shards or more keep every core busy; 256 clips of 0.9 MB bound a worker's memory.
    """
    wanted = max(1, num_clips // 64)
    return min(256, max(16, 1 << (wanted.bit_length() - 1)))


@dataclass(frozen=True)
class ShardPlan:
    """One shard's clips.

    Attributes:
        shard: Shard number.
        first_row: Row of its first clip.
        lines: Its manifest lines.
        sha256: Digest of those lines as written.
        roots: Folders the lines' `root` points into.
        superseded: Rows that a later retry has taken the place of, and its line. They stay the
            failures they were, whenever the shard is made again.
    """

    shard: int
    first_row: int
    lines: tuple[Line, ...]
    sha256: str
    roots: tuple[Root, ...]
    superseded: Mapping[int, Line] = field(default_factory=dict)


class Manifest:
    """All segments of a cache."""

    def __init__(
        self, cache: Path, files: Sequence[Path] | None = None, known: Sequence[Segment] = ()
    ) -> None:
        """Read the segments of a cache; a cache without any has an empty manifest.

        Args:
            cache: Cache folder.
            files: Read these as the segments in order (`verify` puts in copies of damaged ones).
            known: Segments that were read before: they never change, and are not read again.

        Raises:
            CacheCorruptError: If a segment is damaged or missing between others.
        """
        self.folder = cache / MANIFEST
        if files is None:
            files = [self.folder / name for name in segment_names(self.folder)]
        read = {segment.path: segment for segment in known}
        self.segments = [read.get(path) or _segment(path) for path in files]
        row = shard = 0
        for number, segment in enumerate(self.segments):
            name = segment.path.name.removesuffix(".copy")
            begins = segment.first_row, segment.first_shard
            if name != f"{number:04d}.jsonl" or begins != (row, shard):
                raise damaged(self.folder / f"{number:04d}.jsonl", " is missing")
            row += segment.n
            shard += segment.num_shards
        self.num_rows = row
        self.num_shards = shard

    def refreshed(self) -> Manifest:
        """Return the manifest as it is now: only segments published since are read.

        Raises:
            CacheCorruptError: As `Manifest` does.
        """
        return Manifest(self.folder.parent, known=self.segments)

    @property
    def roots(self) -> list[Root]:
        """Every root so far; a segment repeats those before it, so an index never changes."""
        return self.segments[-1].roots if self.segments else []

    def lines(self) -> Iterator[tuple[int, Line]]:
        """Yield (row, line) over all segments."""
        for segment in self.segments:
            yield from enumerate(segment.lines(), segment.first_row)

    def line(self, row: int) -> Line:
        """Return one clip's line.

        Raises:
            IndexError: If there is no such row.
        """
        for segment in self.segments:
            if 0 <= row - segment.first_row < segment.n:
                return next(segment.lines(row - segment.first_row, row - segment.first_row + 1))
        raise IndexError(f"row {row} of {self.num_rows}")

    @cached_property
    def retries(self) -> dict[int, Line]:
        """The rows that a retry has taken the place of, and the retry's line."""
        return {
            line["retry_of"]: line
            for segment in self.segments
            if segment.num_retries
            for line in segment.lines()
            if "retry_of" in line
        }

    def shard_of(self, row: int) -> int:
        """Return the number of the shard that holds `row`.

        Raises:
            IndexError: If there is no such row.
        """
        for segment in self.segments:
            if 0 <= row - segment.first_row < segment.n:
                return segment.first_shard + (row - segment.first_row) // segment.shard_clips
        raise IndexError(f"row {row} of {self.num_rows}")

    def shard_rows(self, shard: int) -> range:
        """Return the rows of shard number `shard`.

        Raises:
            IndexError: If there is no such shard.
        """
        segment, start, stop = self._bounds(shard)
        return range(segment.first_row + start, segment.first_row + stop)

    def shard_sha256(self, shard: int) -> str:
        """Return the digest of a shard's lines as written."""
        segment, start, stop = self._bounds(shard)
        return hashlib.sha256(segment.raw(start, stop)).hexdigest()

    def plan(self, shard: int) -> ShardPlan:
        """Return the clips of shard number `shard`, parsed."""
        segment, start, stop = self._bounds(shard)
        return ShardPlan(
            shard,
            segment.first_row + start,
            tuple(segment.lines(start, stop)),
            self.shard_sha256(shard),
            tuple(segment.roots),
            {row: self.retries[row] for row in self.shard_rows(shard) if row in self.retries},
        )

    def _bounds(self, shard: int) -> tuple[Segment, int, int]:
        for segment in self.segments:
            if 0 <= shard - segment.first_shard < segment.num_shards:
                start = (shard - segment.first_shard) * segment.shard_clips
                return segment, start, min(segment.n, start + segment.shard_clips)
        raise IndexError(f"shard {shard} of {self.num_shards}")

    def publish(
        self,
        lines: Iterable[Line | bytes],
        num_lines: int,
        roots: Sequence[Root],
        *,
        num_retries: int = 0,
        shard_clips: int | None = None,
    ) -> bool:
        """Add a segment.

        Args:
            lines: Clips in their final order, some perhaps as `line_text` writes them; they are
                written as they come.
            num_lines: How many there are.
            roots: The whole table of roots, this manifest's own first.
            num_retries: How many of the lines carry `retry_of`.
            shard_clips: Clips per shard; None for the default of that many clips.

        Returns:
            True if this call published the segment, False if another process was first: then read
            the manifest again and plan what is left.

        Raises:
            CacheUnwritableError: If the disk is full or the folder cannot be written.
            ValueError: If a number of a line is not finite: nothing is published.
        """
        head = {
            "format": FORMAT,
            "first_row": self.num_rows,
            "first_shard": self.num_shards,
            "shard_clips": shard_clips or default_shard_clips(num_lines),
            "num_retries": num_retries,
            "roots": list(roots),
        }
        path = self.folder / f"{len(self.segments):04d}.jsonl"
        with temporary(path) as draft:
            state = hashlib.sha256()
            with draft.open("wb") as file:
                texts = (
                    line if isinstance(line, bytes) else finite_json(line)
                    for line in chain([head], lines)
                )
                while some := list(islice(texts, _WRITTEN_AT_ONCE)):
                    text = b"\n".join([*some, b""])
                    state.update(text)
                    file.write(text)
                tail = {"n": num_lines, "sha256": state.hexdigest()}
                file.write(canonical_json(tail) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)  # unlike rename, never replaces: the first process wins
            except FileExistsError:
                return False
        write_copy(path)
        return True

    def heal(self) -> None:
        """Write the copies that an interrupted `publish` left out."""
        for segment in self.segments:
            if not copy_path(segment.path).exists():
                write_copy(segment.path)


def _segment(path: Path) -> Segment:
    """Read a segment that was listed."""
    try:
        return Segment(path)
    except FileNotFoundError:
        raise damaged(path, " is missing") from None


def copy_path(segment: Path) -> Path:
    """Return where the spare copy of a segment lies."""
    return segment.with_name(segment.name + ".copy")


def write_copy(segment: Path) -> None:
    """Write the spare copy of a segment."""
    copy_durably(segment, copy_path(segment))


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file so that `target` is complete and durable, or not there."""
    with temporary(target) as draft:
        with draft.open("wb") as written, opened(source) as read:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())
        draft.rename(target)


def segment_names(folder: Path) -> list[str]:
    """Return the names of the segments that are there, in order.

    Raises:
        CacheCorruptError: If of one nothing but the copy is there: its rows are not free.
    """
    segments = with_copies(folder)
    for name in segments:
        if not os.path.lexists(folder / name):
            raise damaged(folder / name, " is missing")
    return segments


def with_copies(folder: Path) -> list[str]:
    """Return the names of the segments that are there, or their copies, in order."""
    found = (_SEGMENT_NAME.fullmatch(path.name) for path in folder.glob("*.jsonl*"))
    return sorted({name[1] for name in found if name}, key=lambda name: int(name.split(".")[0]))


_SEGMENT_NAME = re.compile(r"((?:[0-9]{4}|[1-9][0-9]{4,15})\.jsonl)(?:\.copy)?")
