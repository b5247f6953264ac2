"""Neighbours by an index that looks at a part of all clips; its recall is measured.

Clips lie in lists, each around a centroid (FAISS IVF), at one byte a number. A search looks through
the lists nearest to a clip and takes some more candidates than wanted; their cosines are then
computed exactly, from the mapped vectors.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.writer import remove_orphans, temporary
from ...drafts import write_whole
from ...errors import InputError
from ...reading import parse_json, read_regular
from .cosine import EQUAL, QUERY_BLOCK, NearestRows, Queries, nearest
from .faiss_kernel import load_faiss
from .room import num_lists
from .vector_map import is_sealed, seal

MEASURED = ".json"
"""Of the file beside an index: what was measured of it."""
RECALL_QUERIES = 1000
"""Clips whose neighbours are also searched exactly."""
_TRAINING = 64
"""Vectors for each list among which its centroid is found, where there are so many."""
_ADDED = 65_536
_SPARE_SHARE, _SPARE = 4, 16
"""Candidates beyond those wanted, a quarter of them and some: a byte is a rough number."""
_SAME = 1e-6  # cosines this near are one and the same to a float32 search


def build_index(vectors: NDArray[np.floating], path: Path) -> None:
    """Divide unit vectors, `(N, d)`, into lists, and write the index; what was measured is void.

    Raises:
        CacheUnwritableError: The disk is full or cannot be written.
    """
    faiss = load_faiss()
    lists = num_lists(len(vectors))
    index = faiss.index_factory(vectors.shape[1], index_name(lists), faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # its limit for a warning; recall says what came of it
    rng = np.random.default_rng(0)
    sample = rng.choice(len(vectors), min(len(vectors), _TRAINING * lists), replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(sample)], np.float32))
    for start in range(0, len(vectors), _ADDED):
        index.add(np.ascontiguousarray(vectors[start : start + _ADDED], np.float32))
    remove_orphans(path.parent)
    with temporary(path) as draft:
        with draft.open("wb") as file:  # FAISS opens no path that is not UTF-8
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        seal(draft)
        path.with_suffix(MEASURED).unlink(missing_ok=True)
        draft.replace(path)


def index_name(lists: int) -> str:
    """Return FAISS's name of such an index."""
    return f"IVF{lists},SQ8"


class Index:
    """An index beside its vectors."""

    def __init__(self, path: Path, vectors: NDArray[np.floating]) -> None:
        """Read an index, and make it first if it is not there.

        Args:
            path: Its file.
            vectors: `(N, d)` unit vectors, perhaps a map.
        """
        self._path = path
        self._index: Any = _read(path)
        if self._index is None:
            build_index(vectors, path)
            self._index = _read(path)
        self._least: dict[int, list[NDArray[np.float32]]] = {}
        self.vectors = vectors
        self.name = index_name(self._index.nlist)

    def nearest(self, k: int, blocks: Iterable[Queries], probes: int) -> Generator[NearestRows]:
        """Find neighbours, block by block.

        Args:
            k: Neighbours wanted of each.
            blocks: Whose: rows.
            probes: Lists to look through.

        Yields:
            For every block: rows `(Q, k)`, -1 where no more were found, and their cosines.
        """
        self._index.nprobe = min(probes, self._index.nlist)
        count = min(len(self.vectors), k + 1 + k // _SPARE_SHARE + _SPARE)
        for block in blocks:
            asked = np.asarray(block, np.int64)
            queries = np.ascontiguousarray(self.vectors[asked], np.float32)
            _, rows = self._index.search(queries, count)
            rows[rows == asked[:, None]] = -1
            nearest_rows = np.full((len(asked), k), -1, np.int32)
            cosines = np.zeros((len(asked), k), np.float32)
            for at, one in enumerate(zip(queries, rows, strict=True)):
                ranked, exact = self._ranked(*one)
                found = min(k, len(ranked))
                nearest_rows[at, :found], cosines[at, :found] = ranked[:k], exact[:k]
            yield nearest_rows, cosines

    def _ranked(
        self, query: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Order candidates by their exact cosines, equal ones by row."""
        rows = np.sort(rows[rows >= 0])
        exact = self.vectors[rows].astype(np.float64) @ query.astype(np.float64)
        order = np.argsort(-exact, kind="stable")
        rows, exact = rows[order], exact[order]
        level = np.cumsum(np.concatenate([[False], exact[:-1] - exact[1:] > EQUAL]))
        return rows[np.lexsort((rows, level[: len(rows)]))], exact

    def recall(self, k: int, probes: int) -> float:
        """Measure which share of the exact neighbours is found, over some clips.

        A neighbour as near as the k-th counts, whichever of equals it is. What was measured before
        is read from the file beside the index.
        """
        path = self._path.with_suffix(MEASURED)
        key = f"k{k} probes{probes}"
        measured = _measured(path)
        if key not in measured:
            measured[key] = round(self._recall(k, probes), 4)
            write_whole(path, json.dumps(measured).encode())
        return measured[key]

    def _recall(self, k: int, probes: int) -> float:
        num = min(RECALL_QUERIES, len(self.vectors))
        chosen = np.sort(np.random.default_rng(1).choice(len(self.vectors), num, replace=False))
        hits = 0
        blocks = np.array_split(chosen, -(-num // QUERY_BLOCK))
        if k not in self._least:
            exact = nearest(self.vectors, len(self.vectors), k, blocks)
            self._least[k] = [cosine[:, -1:] for _, cosine in exact]
        found = self.nearest(k, blocks, probes)
        for least, (rows, cosine) in zip(self._least[k], found, strict=True):
            hits += int(((cosine >= least - _SAME) & (rows >= 0)).sum())
        return min(1.0, hits / (num * k))


def _measured(path: Path) -> dict[str, float]:
    """Return what was measured before; what is no share of clips is measured again."""
    with suppress(OSError, ValueError):
        found = parse_json(read_regular(path))
        if isinstance(found, dict):
            return {
                key: float(share)
                for key, share in found.items()
                if type(share) in (int, float) and 0 <= share <= 1
            }
    return {}


def _read(path: Path) -> Any:
    """Return an index, None where it is not there or not as it was written."""
    if not is_sealed(path):
        return None
    faiss = load_faiss()
    try:
        with path.open("rb") as file:
            return faiss.read_index(faiss.PyCallbackIOReader(file.read))
    except RuntimeError:  # FAISS has no error of its own; another version may have written it
        return None


def require_recall(recall: float, least: float, probes: int) -> None:
    """Refuse an index that finds too few.

    Raises:
        InputError: It does.
    """
    if recall < least:
        raise InputError(
            f"--approximate finds {recall:.3f} of the exact neighbours with --probes {probes}, "
            f"less than --min-recall {least}: give --probes {2 * probes}, or a lower --min-recall"
        )
