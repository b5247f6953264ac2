"""Anonymous memory of `avpipe extract` (worker and decoder child) over 2,000 clips."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clips import bench_clips
from common import anonymous_bytes, parser, report, table

NUM_CLIPS, WARM_UP, SHARD_CLIPS = 2000, 200, 16
WINDOW = 10 * SHARD_CLIPS
"""Clips over which the peak is taken: memory rises and falls with every shard."""


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in family(int(child)))]


def watch(process: subprocess.Popen[bytes], shards: Path) -> list[tuple[int, int]]:
    """Sample (clips done, anonymous bytes) until the process ends."""
    samples = []
    while process.poll() is None:
        done = len(list(shards.glob("*.h5"))) * SHARD_CLIPS if shards.is_dir() else 0
        try:
            samples.append((done, anonymous_bytes(family(process.pid))))
        except (FileNotFoundError, ProcessLookupError):
            break  # it ended between two looks
        time.sleep(0.02)
    return samples


def peak(samples: list[tuple[int, int]], upto: int) -> float:
    """Largest sum in the window of clips that ends with `upto`, in MiB."""
    return max(size for done, size in samples if upto - WINDOW <= done <= upto) / 2**20


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--clips", type=int, default=NUM_CLIPS)
    arguments = options.parse_args()
    clips = bench_clips()
    with tempfile.TemporaryDirectory() as name:
        videos, cache = Path(name) / "videos", Path(name) / "cache"
        videos.mkdir()
        for number in range(arguments.clips):
            (videos / f"{number:06d}.mp4").symlink_to(clips[number % len(clips)])
        command = [sys.executable, "-m", "avpipe", "extract", str(videos), "--cache", str(cache)]
        command += ["--backend", "sequential", "--shard-clips", str(SHARD_CLIPS), "--json"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            samples = watch(process, cache / "extract")
        if process.returncode:
            raise SystemExit(f"avpipe extract ended with {process.returncode}")
    marks = sorted({WARM_UP, *range(400, arguments.clips, 400), arguments.clips})
    peaks = {mark: peak(samples, mark) for mark in marks}
    growth = peaks[arguments.clips] / peaks[WARM_UP] - 1
    text = (
        table(("clips", "peak MiB, worker + child"), list(peaks.items()))
        + f"\n\nwanted: under 5 % more at the end than at clip {WARM_UP}, measured {growth:+.1%}"
    )
    figures = {"peak_mib": peaks, "growth": growth}
    what = f"anonymous memory at clip {arguments.clips:,} beside that at clip {WARM_UP}"
    headline = [(what, f"{growth:+.1%}", "under 5 % more")]
    report("memory", figures, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
