"""What commands that score runs check before, look for beside, and say after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..cache.store import Cache
from ..errors import InputError, UsageError
from ..machine import granted_cores
from ..stages.neighbors.copies import (
    FRAME_ALIKE,
    SOUND_ALIKE,
    Prints,
    find_copies,
    prints_of,
)
from ..train.benchmarks import load_benchmark, require_benchmark
from ..train.negatives.asked import NO_NEGATIVES, Asked
from ..train.score.protocols import load_protocol
from ..train.score.sweeps import NO_SWEEPS, Sweeps
from ..train.tables.copies import Suspects
from ..weights import RANDOM
from .output import weights_text


def require_truth(
    benchmark: str,
    annotations: Path | None,
    protocol: str,
    paper: str | None,
    sweeps: Sweeps = NO_SWEEPS,
    negatives: Asked = NO_NEGATIVES,
) -> Path:
    """Check what a benchmark is asked, before anything heavy is loaded; return where its truth is.

    Raises:
        UsageError: There is no such benchmark or protocol, nobody says where the true boxes are, or
            the sweeps need boxes that it lacks, or the negatives maps.
        InputError: The annotations cannot be read.
    """
    require_benchmark(benchmark)
    if annotations is None:
        raise UsageError("say where the true boxes are: --annotations, or annotations in a file")
    load_protocol(protocol, paper)
    loaded = load_benchmark(benchmark, annotations)
    sweeps.require_boxes(benchmark, loaded)
    negatives.require_fit(benchmark, loaded)
    return annotations


def mark_random(document: dict[str, Any]) -> dict[str, Any]:
    """Add to an `avpipe.evaluate/1` document which runs began with random weights."""
    for entry in document["runs"]:
        if (entry["weights"] or "").startswith(RANDOM):
            document["notices"].append(
                f"{entry['run']} began with {weights_text(entry['weights'])}"
            )
    return document


def copy_search(cache: Cache, training_cache: Path | None, asked: bool) -> CopySearch | None:
    """Return the search that the options of `evaluate` ask for.

    Raises:
        InputError: There is no such cache.
    """
    if not asked:
        return None
    return CopySearch(cache, Cache(training_cache) if training_cache else None)


class CopySearch:
    """Searches the training clips of runs for copies of test clips."""

    def __init__(self, test_cache: Cache, training_cache: Cache | None = None) -> None:
        """Keep where clips are.

        Args:
            test_cache: Of the test clips.
            training_cache: Of the training clips, if they are in another.
        """
        self._test_cache = test_cache
        self._training_cache = training_cache or test_cache
        self._kept: dict[tuple[str, frozenset[str]], Prints] = {}

    def __call__(self, trained_on: frozenset[str], test_ids: Sequence[str]) -> Suspects:
        """Find the copies of one run.

        Raises:
            InputError: No training clip is in the cache.
        """
        there = trained_on.intersection(self._training_cache.ids)
        if not there:
            raise InputError(
                f"--copies: {self._training_cache.path} has none of the {len(trained_on)} clips "
                "trained on; name the cache they are in with --training-cache"
            )
        training = self._prints(self._training_cache, there)
        test = self._prints(self._test_cache, frozenset(test_ids))
        notices: tuple[str, ...] = ()
        if test.kind != training.kind:
            line = f"--copies: spectrograms {test.kind} and {training.kind} cannot be compared"
            notices = (f"{line}: pictures alone were",)
        pairs = [asdict(copy) for copy in find_copies(test, training)]
        alike = {"frame": FRAME_ALIKE, "sound": SOUND_ALIKE}
        return Suspects(pairs, len(there), len(trained_on) - len(there), alike, notices)

    def _prints(self, cache: Cache, ids: frozenset[str]) -> Prints:
        key = str(cache.path), ids
        if key not in self._kept:
            self._kept[key] = prints_of(cache, sorted(ids), threads=granted_cores())
        return self._kept[key]
