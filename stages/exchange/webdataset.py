"""WebDataset: tar files in which the files of a clip lie together under its id.

Of each clip `KEY.jpg`, `KEY.wav`, `KEY.json` and `KEY.COLUMN.npy`; the key is the id with what a
key cannot hold (a dot ends it) as `%2E`, and the JSON has the id as it is. Format:
https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ...cache.schema import AUDIO_RATE_HZ
from ..wav import wav_bytes
from .items import Item, Spec, TableRow

SUFFIX = ".tar"
TABLE = "clips.csv"


def key_of(clip_id: str) -> str:
    """Return a clip's key: readers cut a name at its first dot, and folders at slashes."""
    return quote(clip_id, safe=" ", errors="surrogateescape").replace(".", "%2E")


def write(path: Path, items: Iterable[Item], columns: Mapping[str, Spec]) -> None:
    """Write a tar file without dates and owners: the same clips are the same bytes."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            key = key_of(item.about["id"])
            _add(archive, f"{key}.jpg", item.jpeg)
            if item.sound is not None:
                _add(archive, f"{key}.wav", wav_bytes(item.sound, AUDIO_RATE_HZ))
            _add(archive, f"{key}.json", json.dumps(item.about).encode())
            for name in columns:
                if name in item.arrays:
                    array = io.BytesIO()
                    np.save(array, item.arrays[name], allow_pickle=False)
                    _add(archive, f"{key}.{extension_of(name)}", array.getvalue())


def extension_of(column: str) -> str:
    """Return what the file of a column ends in: `hints/detr-r50` is `hints-detr-r50.npy`."""
    return f"{column.replace('/', '-').replace('.', '-').replace('@', '-').lower()}.npy"


def write_table(path: Path, rows: Sequence[TableRow]) -> None:
    """Write the table of clips; an empty cell is none."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    about: Any = tarfile.TarInfo(name)
    about.size = len(content)
    archive.addfile(about, io.BytesIO(content))
