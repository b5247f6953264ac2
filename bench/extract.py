"""Clips per second and core: avpipe beside the other ways, and beside what cannot be left out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from avpipe.cache.manifest import ShardPlan
from avpipe.cache.segment import Line, Root
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams, Row, make_row
from avpipe.stages.workers.decoder import DecoderChild
from clips import bench_clips
from common import interleave, parser, pin_to_one_core, ratio, report, table, typical
from peers import Floor, decode_all, ffmpeg_programs, one_call, plain_pyav, two_calls

SHARD_CLIPS = 256
FLOOR, AVPIPE = "unavoidable decode (decoders only)", "avpipe extract"
WANTED_SPEED, WANTED_TIMES = 4, 1.25


class Replay:
    """A decoder that has its rows already, so that publishing a shard is timed alone."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        """Keep rows by path."""
        self._rows = rows

    def row(self, line: Mapping[str, Any]) -> Row:
        """Return the row of a line's file."""
        return self._rows[line["path"]]


def write_seconds(rows: Mapping[str, Row], params: FeatureParams) -> float:
    """Seconds per clip to publish the shards of a large set: 256 clips, the rows in turn."""
    paths = list(islice(cycle(rows), SHARD_CLIPS))
    lines = [Line(id=Path(path).stem, root=0, path=path, source=path, bytes=0) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        plan = ShardPlan(0, 0, tuple(lines), "", (Root(path="/", device=0),))
        task = ExtractTask(Path(folder), plan, params, {})
        begin = time.perf_counter()
        extract_shard(task, Replay(rows))
        return (time.perf_counter() - begin) / SHARD_CLIPS


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3, help="timed rounds over the 24 clips")
    arguments = options.parse_args()
    clips = bench_clips()
    core = pin_to_one_core()
    params = FeatureParams()
    floors = {clip: Floor(clip) for clip in clips}
    rows: dict[str, Row] = {}
    with DecoderChild(params) as child:

        def through_child(clip: Path) -> None:
            rows[str(clip)] = child.row({"path": str(clip)})

        methods: dict[str, Callable[[Path], object]] = {}
        for version, program in ffmpeg_programs().items():
            methods[f"two ffmpeg calls ({version})"] = partial(two_calls, program)
            methods[f"one ffmpeg call, two pipes ({version})"] = partial(one_call, program)
        two_names = [name for name in methods if name.startswith("two")]
        methods |= {
            "decode everything (PyAV, librosa)": decode_all,
            "plain PyAV": plain_pyav,
            FLOOR: lambda clip: floors[clip].decode(),
            "avpipe, no child, no write": lambda clip: make_row(str(clip), params=params),
            AVPIPE: through_child,
        }
        seconds = interleave(methods, clips, arguments.rounds)
    writing = sorted(write_seconds(rows, params) for _ in range(5))[2]
    seconds[AVPIPE] += writing
    ms = {name: 1000 * typical(values) for name, values in seconds.items()}
    floor, two = ms[FLOOR], ms[two_names[0]]
    times = ratio(seconds[AVPIPE], seconds[FLOOR])
    speed = ratio(seconds[two_names[0]], seconds[AVPIPE])
    head = ("per 360p clip", "ms", "clips/s/core", "x unavoidable", "speed x two calls")
    body = [(name, one, 1000 / one, one / floor, two / one) for name, one in ms.items()]
    text = (
        f"{len(clips)} clips, {arguments.rounds} rounds, core {core}. Every row makes the JPEG,\n"
        "the wide spectrogram and 10 s of 32 kHz sound, but for the unavoidable decode;\n"
        f"{AVPIPE} also writes its shard ({1000 * writing:.2f} ms per clip).\n\n"
        f"{table(head, body)}\n\n"
        f"wanted: {AVPIPE} >= {WANTED_SPEED} x as fast as {two_names[0]}, measured {speed};\n"
        f"<= {WANTED_TIMES} x the unavoidable decode, measured {times}"
    )
    figures = {
        "ms_per_clip": ms,
        "write_ms_per_clip": 1000 * writing,
        "speed_over_two_calls": asdict(speed),
        "times_unavoidable": asdict(times),
    }
    headline = [
        ("against the unavoidable decode", f"{times} times", f"<= {WANTED_TIMES}"),
        (f"as fast as {two_names[0]}", f"{speed} times", f">= {WANTED_SPEED}"),
    ]
    report("extract", figures, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
