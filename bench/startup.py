"""How long `avpipe --help` takes, beside a Python that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import parser, report

WANTED_S = 0.3


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__).parse_args()
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "avpipe --help": [str(Path(sys.executable).with_name("avpipe")), "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(11):  # in turn; the first of each fills the caches
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - begin)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    lines = [f"{name}: {value:.3f} s (median of 10)" for name, value in median.items()]
    text = "\n".join([*lines, f"wanted: avpipe --help < {WANTED_S} s"])
    headline = [("`avpipe --help`", f"{median['avpipe --help']:.2f} s", f"< {WANTED_S} s")]
    report("startup", {"median_s": median}, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
