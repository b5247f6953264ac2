"""What an evaluation leaves in a run's folder: a csv of pairs, a json of scores and curves."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from ...advice import quoted
from ...errors import CacheCorruptError
from ...printable import cell
from ...reading import read_regular
from ..benchmarks import Scored
from ..runs.sealed import CSV_DIGEST, seal, unseal
from ..score.maps import write_whole
from ..score.shared import Evaluation
from .beside import is_nan

SCHEMA = "avpipe.evaluate/1"


def results_path(
    folder: Path,
    benchmark: str,
    protocol: str,
    branch: str | None = None,
    head: str | None = None,
) -> Path:
    """Return where a run's results lie, without `.csv` (pairs) and `.json` (scores, curves)."""
    stem = "-".join(filter(None, (benchmark, branch, head)))
    return folder / "evaluate" / f"{stem}-{protocol}"


def write_results(folder: Path, shared: Evaluation, entry: dict[str, Any], av: Scored) -> Path:
    """Write the csv of pairs and the json of scores and curves, the same however often.

    Returns:
        Where they are, as `results_path` does.
    """
    path = results_path(folder, shared.stem, shared.protocol.name, shared.branch, shared.head)
    samples, text = av.samples, io.StringIO()
    writer = csv.DictWriter(text, list(samples[0]), lineterminator="\n")
    writer.writeheader()
    for sample in samples:
        writer.writerow(
            {name: "" if is_nan(value) else cell(value) for name, value in sample.items()}
        )
    table = text.getvalue().encode()
    write_whole(path.with_name(f"{path.name}.csv"), table)
    kept = {name: value for name, value in entry.items() if name not in ("run", "maps_reused")}
    kept = {"schema": SCHEMA, **kept, "curves": av.curves}
    kept[CSV_DIGEST] = hashlib.sha256(table).hexdigest()
    content = json.dumps(seal(without_nan(kept)), indent=1) + "\n"
    write_whole(path.with_name(f"{path.name}.json"), content.encode())
    return path


def read_results(results: Path) -> dict[str, Any]:
    """Read the scores and curves of an evaluation.

    Args:
        results: As `results_path` returns it.

    Raises:
        CacheCorruptError: They are damaged.
    """
    path = results.with_name(f"{results.name}.json")
    try:
        return unseal(read_regular(path))[0]
    except ValueError as error:
        run = quoted(path.parent.parent)  # it lies in its folder `evaluate`
        raise CacheCorruptError(
            f"{path} is damaged ({error}); run `avpipe evaluate {run}` again"
        ) from None


def without_nan(value: Any) -> Any:
    """Return the same with null for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if is_nan(value) else value
