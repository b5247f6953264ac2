"""Two million clips: seconds and peak memory to scan, to plan, to plan again, and to report.

On the clock and of a core: on a machine that others use too only the second is worth comparing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import parser, report, table

# Each step is a process of its own, as a command is; `clips.txt` names files that are not there.
STEPS = {
    "scan a list": "scan(['clips.txt'])",
    "scan and plan": "add_segment(cache, scan(['clips.txt']).candidates, remap={}, cut=iter, "
    "shard_clips=None)",
    "scan and plan again, nothing new": "add_segment(cache, scan(['clips.txt']).candidates, "
    "remap={}, cut=iter, shard_clips=None)",
    "find what is to do": "shards_to_do(cache, Manifest(cache), {})",
    "status": "status(cache)",
}
COLUMNS = ("step", "seconds", "of a core", "peak MiB")
PREAMBLE = """
from pathlib import Path
from avpipe.cache.manifest import Manifest
from avpipe.pipeline.extract.scan import scan
from avpipe.pipeline.extract.plan import add_segment, shards_to_do
from avpipe.pipeline.tally import status
cache = Path('cache')
"""


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--clips", type=int, default=2_000_000)
    arguments = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "clips.txt").open("w") as names:
            names.writelines(
                f"v/{7919 * i % 10**9:011d}_{i:06d}.mp4\n" for i in range(arguments.clips)
            )
        for name, step in STEPS.items():
            begin = time.perf_counter()
            process = subprocess.Popen([sys.executable, "-c", PREAMBLE + step], cwd=folder)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{name}: failed")
            cpu_seconds = usage.ru_utime + usage.ru_stime
            seconds = time.perf_counter() - begin
            rows.append((name, seconds, cpu_seconds, usage.ru_maxrss / 1024))
    text = (
        f"{arguments.clips} clips\n\n{table(COLUMNS, rows)}\n\n"
        "wanted: 10 s to plan, 1 s for the status, 900 MiB in every step"
    )
    figures = {
        name: {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": mib}
        for name, seconds, cpu_seconds, mib in rows
    }
    headline = [
        (f"{arguments.clips:,} clips: {name}", f"{seconds:.1f} s, {mib:.0f} MiB",
         "10 s to plan, 1 s for the status, 900 MiB")
        for name, seconds, _, mib in rows
    ]  # fmt: skip
    report("manifest", figures, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
