"""Random rows read from a cache (frame bytes and centre spectrogram), beside a memmap and h5py."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from avpipe.cache.manifest import Manifest
from avpipe.cache.segment import Line, Root
from avpipe.cache.store import Cache
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams, Row, make_row
from clips import bench_clips
from common import interleave, parser, pin_to_one_core, ratio, report, table, typical
from numpy.typing import NDArray
from PIL import Image

NUM_CLIPS = 2048
READS = 500
CENTRE = slice(93, 369)
WANTED = 1.15
MEMMAP, CHUNKS = "numpy memmap", "h5py, chunks of one row"

Sample = tuple[NDArray[np.uint8], NDArray[np.float16]]


class Again:
    """A decoder that gives a few rows again and again, without their sound."""

    def __init__(self, rows: list[Row]) -> None:
        """Keep the rows."""
        self._rows = rows

    def row(self, line: Mapping[str, Any]) -> Row:
        """Return the row that the line's number asks for."""
        return self._rows[int(line["id"]) % len(self._rows)]


def make_cache(folder: Path, rows: list[Row], num_clips: int = NUM_CLIPS) -> Cache:
    """A cache of `num_clips` rows."""
    lines = [
        Line(id=f"{i:06d}", root=0, path=f"{i:06d}", source=f"{i:06d}", bytes=0)
        for i in range(num_clips)
    ]
    root = Root(path=str(folder), device=folder.stat().st_dev)
    Manifest(folder).publish(iter(lines), len(lines), [root], shard_clips=256)
    manifest = Manifest(folder)
    for shard in range(manifest.num_shards):
        task = ExtractTask(folder, manifest.plan(shard), FeatureParams(), {})
        extract_shard(task, Again(rows))
    return Cache(folder)


def from_cache(cache: Cache) -> Callable[[int], Sample]:
    """Through `Cache.column`, one row after another, copied like the others."""
    frames, spectrograms = (
        cache.column(f"extract/{name}") for name in ("frame_jpeg", "spectrogram_wide")
    )
    return lambda row: (np.array(frames[row]), np.array(spectrograms[row][:, CENTRE]))


def from_memmap(folder: Path, rows: list[Row]) -> Callable[[int], Sample]:
    """The same values in two flat files mapped into memory: the floor, as nothing is checked."""
    frames, offsets = _frames(rows)
    frames.tofile(folder / "frames")
    wide = np.stack([rows[i % len(rows)]["spectrogram_wide"] for i in range(NUM_CLIPS)])
    wide.tofile(folder / "wide")
    mapped = np.memmap(folder / "frames", np.uint8, "r")
    mapped_wide = np.memmap(folder / "wide", np.float16, "r", shape=wide.shape)

    def read(row: int) -> Sample:
        frame = np.array(mapped[offsets[row] : offsets[row + 1]])
        return frame, np.array(mapped_wide[row, :, CENTRE])

    return read


def from_chunks(folder: Path, rows: list[Row]) -> Callable[[int], Sample]:
    """The usual HDF5 file through h5py: flat frame bytes, the centre alone in chunks of one row."""
    frames, offsets = _frames(rows)
    file = h5py.File(folder / "chunks.h5", "w")
    file.create_dataset("frame_jpeg", data=frames)
    centre = file.create_dataset(
        "spectrogram", (NUM_CLIPS, 257, 276), np.float16, chunks=(1, 257, 276)
    )
    for row in range(NUM_CLIPS):
        centre[row] = rows[row % len(rows)]["spectrogram_wide"][:, CENTRE]
    file.close()
    file = h5py.File(folder / "chunks.h5", "r")
    stored, centre = file["frame_jpeg"], file["spectrogram"]
    return lambda row: (stored[offsets[row] : offsets[row + 1]], centre[row])


def _frames(rows: list[Row]) -> tuple[NDArray[np.uint8], list[int]]:
    """All frames one behind the other, and where each starts."""
    jpegs = [rows[i % len(rows)]["frame_jpeg"] for i in range(NUM_CLIPS)]
    offsets = np.concatenate([[0], np.cumsum([len(jpeg) for jpeg in jpegs])])
    return np.frombuffer(b"".join(jpegs), np.uint8), offsets.tolist()


def decoding(read: Callable[[int], Sample]) -> Callable[[int], object]:
    """The same read with what a trainer does next: the picture."""
    return lambda row: np.asarray(Image.open(io.BytesIO(read(row)[0].tobytes())))


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__).parse_args()
    rows = [make_row(str(clip)) for clip in bench_clips()]
    for row in rows:
        row["waveform"] = row["waveform"][:0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        methods = {
            MEMMAP: from_memmap(folder, rows),
            "avpipe cache": from_cache(make_cache(folder / "cache", rows)),
            CHUNKS: from_chunks(folder, rows),
        }
        samples = [read(777) for read in methods.values()]
        for frame, centre in samples[1:]:
            assert np.array_equal(frame, samples[0][0]) and np.array_equal(centre, samples[0][1])
        core = pin_to_one_core()
        order = [int(row) for row in np.random.default_rng(0).integers(NUM_CLIPS, size=READS)]
        decoded = {f"{name}, JPEG decoded": decoding(read) for name, read in methods.items()}
        seconds = interleave({**methods, **decoded}, order, 5)
    ms = {name: 1000 * typical(values) for name, values in seconds.items()}
    floors = {name: ms[name.replace("avpipe cache", MEMMAP).replace(CHUNKS, MEMMAP)] for name in ms}
    body = [(name, f"{value:.4f}", value / floors[name]) for name, value in ms.items()]
    text = (
        f"{READS} random rows of {NUM_CLIPS}, files in memory, core {core}\n\n"
        f"{table(('read', 'ms', 'x memmap'), body)}\n\n"
        f"wanted: avpipe cache <= {WANTED} x memmap, measured {ms['avpipe cache'] / ms[MEMMAP]:.2f}"
    )
    times = ratio(seconds["avpipe cache"], seconds[MEMMAP])
    headline = [("against a memmap", f"{times} times", f"<= {WANTED}")]
    figures = {"ms_per_row": ms, "times_memmap": asdict(times)}
    report("read", figures, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
