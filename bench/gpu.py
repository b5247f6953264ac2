"""All that a GPU does, in one command: checks first, then figures.

It writes one JSON file and one Markdown table. A part that fails is a line of the table and stops
nothing; what no longer fits into `--limit-s` is listed as not run. `--dry` runs every line at toy
sizes on a CPU, where nothing it says means anything.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from avpipe.stages.synth.run import synth
from clips import bench_clips
from common import parser
from gpu_parts import TOY, Part, Sizes, Where, run_part
from gpu_stages import neighbours, teachers, tests
from gpu_train import pace, precisions, resuming
from machine_words import machine_words

PARTS: dict[str, Callable[[Where, Part], None]] = {
    "tests": tests,
    "train": pace,
    "precisions": precisions,
    "resume": resuming,
    "knn": neighbours,
    "teachers": teachers,
}
"""In this order; those that check come as early as their data allows."""
LIMIT_S = 470
MARKS = {None: "", True: "yes", False: "**no**"}


def markdown(machine: dict[str, Any], parts: Sequence[Part], *, dry: bool) -> str:
    """Return the table, with the machine above it."""
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [about + ("" if not dry else ". **A dry run on a CPU: no figure means anything**"), ""]
    lines += ["| part | what | found | wanted | as wanted |", "|---|---|---|---|---|"]
    for part in parts:
        if part.state == "not run":
            lines.append(f"| {part.name} | all of it | not run: no time was left | | |")
        for row in part.rows:
            words = (part.name, row.what, row.found, row.wanted, MARKS[row.ok])
            lines.append("| " + " | ".join(word.replace("|", "/") for word in words) + " |")
    return "\n".join(lines) + "\n"


def run(where: Where, names: Sequence[str], limit_s: float) -> list[Part]:
    """Run parts in order as long as there is time; say which begins."""
    began, parts = time.perf_counter(), []
    for name in names:
        if time.perf_counter() - began > limit_s:
            parts.append(Part(name))
            continue
        print(f"{time.perf_counter() - began:5.0f} s  {name}", file=sys.stderr, flush=True)
        parts.append(run_part(name, PARTS[name], where))
        if parts[-1].problem:
            print(parts[-1].traceback, file=sys.stderr)
    return parts


def dry_clips(folder: Path) -> list[Path]:
    """Draw a few small clips."""
    synth(folder / "drawn", clips=4, num_test=2)
    return sorted((folder / "drawn").rglob("*.mp4"))[:4]


def main() -> int:
    """Measure and write; the exit code is 1 when a part failed or a check did not hold."""
    options = parser(__doc__)
    options.add_argument("--dry", action="store_true", help="on a CPU, at toy sizes")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--out", type=Path, default=Path("gpu"), help="folder of the two files")
    options.add_argument("--limit-s", type=float, default=LIMIT_S, help="no part begins later")
    arguments = options.parse_args()
    if not (arguments.dry or torch.cuda.is_available()):
        print("no GPU: bench/gpu.py needs one, or --dry", file=sys.stderr)
        return 1
    parts = list(arguments.parts)
    if {"precisions", "resume"}.intersection(parts) and "train" not in parts:
        parts.insert(0, "train")  # which makes their data
    device = torch.device("cpu" if arguments.dry else "cuda")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = dry_clips(folder) if arguments.dry else bench_clips()
        sizes = TOY if arguments.dry else Sizes()
        found = run(Where(device, sizes, folder, clips), parts, arguments.limit_s)
    machine = machine_words(gpu=device.type == "cuda")
    document = {
        "schema": "avpipe.bench.gpu/1",
        "dry": arguments.dry,
        "machine": machine,
        "seconds": time.perf_counter() - began,
        "parts": [part.as_json() for part in found],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = json.dumps(document, indent=1) + "\n"
    (arguments.out / "gpu.json").write_text(written)
    table = markdown(machine, found, dry=arguments.dry)
    (arguments.out / "gpu.md").write_text(table)
    print(written if arguments.json else table)
    held = all(row.ok is not False for part in found for row in part.rows)
    return 0 if arguments.dry or (held and all(part.state == "done" for part in found)) else 1


if __name__ == "__main__":
    sys.exit(main())
