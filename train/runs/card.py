"""The card of an exported run: README.md, whose header other programs read.

The header is YAML as model cards of the Hugging Face Hub have it (`license`, `tags`, `model-index`:
https://huggingface.co/docs/hub/model-cards), written as JSON values, which YAML holds as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...advice import quoted
from ...cache.schema import id_set_digest
from ...errors import require_answer
from ...reading import read_regular
from ..benchmarks import module_of
from ..notices import tell
from .record import RunRecord
from .sealed import unseal

NO_LICENCE = "unknown"
"""The Hub's word for it."""
TASK = "sound-source-localization"

StoredScores = Mapping[str, Any]


def read_scores(run_dir: Path) -> list[StoredScores]:
    """Read what evaluations left in a run's folder, one for each benchmark and protocol."""
    found: list[StoredScores] = []
    for path in sorted((run_dir / "evaluate").glob("*.json")):
        try:
            one, _ = unseal(read_regular(path))
            _metrics(one)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            require_answer(error, path)
            run = quoted(run_dir)
            tell(f"{path} is damaged: the card leaves it out; run `avpipe evaluate {run}` again")
            continue
        found.append(one)
    return found


def card_text(
    name: str, record: RunRecord, step: int, scores: Sequence[StoredScores], licence: str | None
) -> str:
    """Return the card of a run.

    Args:
        name: What the run is called.
        record: What it was made with.
        step: Steps it was trained for.
        scores: What `read_scores` found.
        licence: Of the weights, by the Hub's name for it; None where nobody has said.
    """
    header: dict[str, Any] = {
        "library_name": "avpipe",
        "license": licence or NO_LICENCE,
        "tags": [TASK, "audio-visual", record.recipe_name or record.recipe.objective],
        "model-index": [{"name": name, "results": [_result(one) for one in scores]}],
    }
    if not scores:
        del header["model-index"]
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    parts = [
        f"---\n{yaml}\n---",
        f"# {name}",
        "Where in a picture is the sound? A sound-source localizer of avpipe, recipe "
        f"`{record.recipe_name or record.recipe.objective}`, seed {record.seed}, {step} steps.",
        _learnt(record),
        _scores(scores),
        _leaks(record, scores),
        _licence(record, licence),
        "## Use\n\n"
        "```python\nfrom avpipe.train import load_run\n\n"
        'run = load_run("hf://USER/RUN")  # or this folder\n'
        "run.localize(frame, waveform, rate_hz)  # (224, 224) float32, cosines\n```\n\n"
        "`model.json` describes every layer and every step before the network: `model.safetensors` "
        "runs without avpipe.",
    ]
    return "\n\n".join(parts) + "\n"


def _learnt(record: RunRecord) -> str:
    """Say what the weights come from."""
    lines = ["## What it learnt from", ""]
    if record.imported is not None:
        lines.append(f"- Imported, released by others: `{record.imported.get('file', 'a file')}`.")
    if record.ids:
        lines.append(
            f"- {len(record.ids)} clips; `run.json` lists their ids (sha256 of the list "
            f"`{id_set_digest(record.ids)[:12]}`)."
        )
    elif record.trained_on is None:
        lines.append("- Clips that nobody has listed.")
    began = {"picture": record.image_weights, "sound": record.audio_weights}
    for what, digest in began.items():
        if digest:
            lines.append(f"- Its {what} encoder began with weights `{digest[:12]}`.")
    for stage, digest in record.inputs.items():
        lines.append(f"- `{stage}`, made with weights `{str(digest)[:12]}`.")
    return "\n".join(lines)


def _metrics(one: StoredScores) -> list[dict[str, Any]]:
    """Return the figures that a table of this benchmark shows, with heading and protocol."""
    columns = module_of(one["benchmark"]).FORM.columns
    figures = one["scores"]["av"]
    return [
        {"type": key, "name": f"{heading}, protocol {one['protocol']}", "value": figures[key]}
        for key, heading in columns.items()
        if figures.get(key) is not None
    ]


def _result(one: StoredScores) -> dict[str, Any]:
    return {
        "task": {"type": TASK, "name": "Sound-source localization"},
        "dataset": {"type": one["benchmark"], "name": one["benchmark"], "split": "test"},
        "metrics": _metrics(one),
    }


def _scores(scores: Sequence[StoredScores]) -> str:
    """Write a table of the figures, each with its protocol and how many clips were scored."""
    if not scores:
        return "## Scores\n\nNot evaluated."
    lines = ["## Scores", "", "| Benchmark | Protocol | Scored / official | Score | Value |",
             "|---|---|---|---|---|"]  # fmt: skip
    for one in scores:
        head = f"| {one['benchmark']} | {one['protocol']} | {one['n_scored']} / {one['n_official']}"
        for metric in _metrics(one):
            heading = metric["name"].partition(",")[0]
            lines.append(f"{head} | {heading} (`{metric['type']}`) | {metric['value']:.4f} |")
    return "\n".join(lines)


def _leaks(record: RunRecord, scores: Sequence[StoredScores]) -> str:
    """Say how many test clips were trained on."""
    lines = ["## Leaks", ""]
    if record.trained_on is None:
        lines.append("It is not known what it was trained on: test clips may be among that.")
    else:
        lines += [
            f"- {one['benchmark']}: {len(one.get('leaked') or ())} of its test clips were trained "
            "on, those without a source included."
            for one in scores
        ] or ["Not evaluated; `run.json` lists the ids that it was trained on."]
    return "\n".join(lines)


def _licence(record: RunRecord, licence: str | None) -> str:
    """Say what may be done with the weights."""
    lines = ["## Licence", ""]
    if record.imported is not None:
        lines.append(f"Released under: {record.imported.get('licence', 'not known')}.")
    if licence is None:
        lines.append(
            "Nobody has said (`avpipe export RUN --license NAME`). Weights may carry terms of the "
            "clips and the pretrained networks that they learnt from."
        )
    else:
        lines.append(f"{licence}.")
    return "\n".join(lines)
