"""Read what `avpipe export-cache` wrote, without avpipe.

    avpipe export-cache exported --workers 4
    python docs/examples/read_export.py exported

WebDataset's files need only Python here; `webdataset.WebDataset(urls)` reads the same, decoded and
in worker processes. Parquet's need pyarrow.
"""

import csv
import io
import json
import sys
import tarfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

Clip = tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]
"""Id, frame `(H, W, 3)`, sound `(L,)` int16 at 32 kHz, and further columns by name."""


def from_tar(path: Path) -> Iterator[Clip]:
    """Yield the clips of a WebDataset file: the files of a clip follow each other."""
    with tarfile.open(path) as archive:
        files: dict[str, bytes] = {}
        for member in [*archive, None]:
            name = member.name.partition(".") if member else ("", "", "")
            if files and name[0] != files["key"].decode():
                about = json.loads(files["json"])
                frame = np.asarray(Image.open(io.BytesIO(files["jpg"])))
                samples = np.zeros(0, "<i2")
                if "wav" in files:  # else the sounds were dropped
                    with wave.open(io.BytesIO(files["wav"])) as sound:
                        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
                more = {
                    extension.removesuffix(".npy"): np.load(io.BytesIO(content))
                    for extension, content in files.items()
                    if extension.endswith(".npy")
                }
                yield about["id"], frame, samples, more
                files = {}
            if member and (content := archive.extractfile(member)):
                files |= {"key": name[0].encode(), name[2]: content.read()}


def from_parquet(path: Path) -> Iterator[Clip]:
    """Yield the clips of a Parquet file, row group by row group."""
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    shapes = {
        field.name: json.loads(field.metadata[b"shape"])
        for field in file.schema_arrow
        if field.metadata and b"shape" in field.metadata
    }
    for batch in file.iter_batches(batch_size=64):
        for row in batch.to_pylist():
            frame = np.asarray(Image.open(io.BytesIO(row["frame_jpeg"])))
            more = {
                name: np.array(row[name]).reshape(shape)
                for name, shape in shapes.items()
                if row[name] is not None
            }
            yield row["id"], frame, np.array(row["sound"] or [], "<i2"), more


def main(folder: Path) -> None:
    """Print a line for each clip, and how many failed."""
    for path in sorted(folder.glob("clips-*")):
        for clip_id, frame, sound, more in (
            from_tar(path) if path.suffix == ".tar" else from_parquet(path)
        ):
            columns = ", ".join(f"{name} {array.shape}" for name, array in more.items())
            print(f"{clip_id}: frame {frame.shape}, sound {sound.shape} {columns}")
    table = folder / "clips.csv"
    if table.exists():
        with table.open(newline="") as file:
            states = [line["state"] for line in csv.DictReader(file)]
        print({state: states.count(state) for state in sorted(set(states))})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
