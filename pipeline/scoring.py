"""What commands that score runs check before, and say after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..train.benchmarks import load_benchmark, require_benchmark
from ..train.score.protocols import load_protocol
from ..train.score.sweeps import NO_SWEEPS, Sweeps
from ..weights import RANDOM
from .output import weights_text


def require_truth(
    benchmark: str,
    annotations: Path | None,
    protocol: str,
    paper: str | None,
    sweeps: Sweeps = NO_SWEEPS,
) -> Path:
    """Check what a benchmark is asked, before anything heavy is loaded; return where its truth is.

    Raises:
        UsageError: There is no such benchmark or protocol, nobody says where the true boxes are, or
            the sweeps need boxes that it lacks.
        InputError: The annotations cannot be read.
    """
    require_benchmark(benchmark)
    if annotations is None:
        raise UsageError("say where the true boxes are: --annotations, or annotations in a file")
    load_protocol(protocol, paper)
    sweeps.require_boxes(benchmark, load_benchmark(benchmark, annotations))
    return annotations


def mark_random(document: dict[str, Any]) -> dict[str, Any]:
    """Add to an `avpipe.evaluate/1` document which runs began with random weights."""
    for entry in document["runs"]:
        if (entry["weights"] or "").startswith(RANDOM):
            document["notices"].append(
                f"{entry['run']} began with {weights_text(entry['weights'])}"
            )
    return document
