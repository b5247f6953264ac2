"""Ids that are taken: the first file of an id has it, and the next one is told which that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...cache.manifest import Manifest
from ...errors import Reason
from .candidate import Candidate


class TakenIds:
    """Which clip has an id, of those in a manifest and those to be added to it.

    It holds a row for each id: millions of paths would take more memory than the manifest.
    """

    def __init__(
        self,
        manifest: Manifest,
        clips: Sequence[Candidate] = (),
        index: Mapping[str, int] | None = None,
    ) -> None:
        """Take the ids of a manifest.

        Args:
            manifest: What is planned.
            clips: What comes behind it, in the order of its rows to be.
            index: Number of each of their roots by folder.
        """
        self._manifest = manifest
        self._clips = clips
        self._index = index or {}
        self._row: dict[str, int] = {}
        self._next = manifest.num_rows
        for row, line in manifest.lines():
            is_rejected = line.get("reject") == Reason.DUPLICATE_ID
            if line["id"] not in self._row or ("retry_of" in line and not is_rejected):
                self._row[line["id"]] = row

    def __contains__(self, clip_id: str) -> bool:
        """Whether a clip has the id."""
        return clip_id in self._row

    def add(self, clip_id: str) -> None:
        """Give an id to the next clip; one that is taken stays with its first."""
        self._row.setdefault(clip_id, self._next)
        self._next += 1

    def take(self, clip_id: str) -> bool:
        """Give an id to the next clip if it is free; if not, nothing is done."""
        is_free = self._row.setdefault(clip_id, self._next) == self._next
        self._next += is_free
        return is_free

    def holder(self, clip_id: str, root: int) -> str:
        """Name the file that has an id, by its path below its root, and that root if another."""
        row = self._row[clip_id]
        if row < self._manifest.num_rows:
            line = self._manifest.line(row)
            path, its_root = line["path"], line["root"]
        else:
            clip = self._clips[row - self._manifest.num_rows]
            path, its_root = clip.path, self._index[clip.root]
        where = "" if its_root == root else f" of root {its_root}"
        return f"{path or 'a clip without a file'}{where}"
