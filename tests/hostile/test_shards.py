"""Shards put together by others: headers that lie, HDF5 that leads elsewhere, columns at odds."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from avpipe.cache.schema import EXTRACT, HEADER_BYTES, canonical_json, digest, shard_path
from cache_factory import make_cache
from hostile_run import Ended, run_confined
from warm import Warm

COMMANDS = {
    "verify": ["verify"],
    "status": ["status"],
    "failures": ["inspect", "--failures"],
    "export": ["export-cache", "out", "--column", "extract/spectrogram_wide"],
}
SEALED = ("stage", "stage_version", "shard", "params", "inputs", "weights")
Change = Callable[[dict[str, Any]], None]


def sealed(record: dict[str, Any]) -> bytes:
    """Return a user block whose checksums are right, whatever it says."""
    try:
        record["fingerprint"] = digest([record.get(name) for name in SEALED])
        text = canonical_json(record) + b"\n"
    except ValueError:
        text = json.dumps(record).encode() + b"\n"
    text += b"%08x\n" % zlib.crc32(text)
    return text.ljust(HEADER_BYTES, b"\0")


def put(path: Path, change: Change) -> None:
    """Change a shard's header."""
    content = path.read_bytes()
    record = json.loads(content[:HEADER_BYTES].partition(b"\n")[0])
    change(record)
    path.write_bytes(sealed(record)[: 1 << 20] + content[HEADER_BYTES:])


def column(name: str, **changes: Any) -> Change:
    return lambda record: record["columns"][name].update(changes)


def said(**changes: Any) -> Change:
    return lambda record: record.update(changes)


HEADERS: dict[str, Change] = {
    "a huge shape": column("frame_jpeg", shape=[1 << 62]),
    "a shape that overflows": column("frame_jpeg", shape=[1 << 33, 1 << 33]),
    "a shape of nothing, huge": column("frame_hw", shape=[0, 1 << 62]),
    "a shape of a nothing and two huge": column("frame_hw", shape=[0, 1 << 62, 1 << 62]),
    "a negative shape": column("row", shape=[-1]),
    "two negatives": column("frame_hw", shape=[-3, -2]),
    "a shape that is no whole number": column("row", shape=[1.5]),
    "a shape that is infinite": column("row", shape=[float("inf")]),
    "a shape of texts": column("row", shape="abc"),
    "a shape that is true": column("row", shape=[True]),
    "no axis": column("row", shape=[]),
    "40 axes": column("row", shape=[1] * 40),
    "an offset behind the file": column("row", offset=1 << 62),
    "an offset before the content": column("row", offset=0),
    "a negative offset": column("row", offset=-8),
    "an offset that is no whole number": column("row", offset=5000.5),
    "an offset that is a text": column("row", offset="5000"),
    "an offset that is NaN": column("row", offset=float("nan")),
    "columns over each other": lambda record: record["columns"]["frame_offset"].update(
        offset=record["columns"]["spectrogram_wide"]["offset"]
    ),
    "objects": column("row", dtype="|O"),
    "a structure": column("row", dtype="<i4,<i4"),
    "a structure as a list": column("row", dtype=[["a", "<i8"]]),
    "an array of arrays": column("row", dtype="(2,)<i4"),
    "times": column("row", dtype="<M8[s]"),
    "letters": column("row", dtype="<U4"),
    "bytes of no size": column("row", dtype="|S0"),
    "bytes of no size, huge": column("row", dtype="|S0", shape=[1 << 60]),
    "bytes of 2 GB": column("row", dtype="|S2147483647"),
    "complex numbers": column("row", dtype="<c16"),
    "no type": column("row", dtype=None),
    "another type of that size": column("row", dtype="<f8"),
    "texts for numbers": column("frame_offset", dtype="|S8"),
    "long numbers": column("row", dtype="<f16"),
    "the other byte order": column("row", dtype=">i8"),
    "a type of a megabyte": column("row", dtype="<i8" + " " * 2000),
    "no columns": said(columns={}),
    "columns that are a list": said(columns=[1]),
    "a column that is a number": said(columns={"row": 5}),
    "one column": lambda record: record.update(columns={"row": record["columns"]["row"]}),
    "a column without its offsets": lambda record: record["columns"].pop("frame_offset"),
    "no rows": lambda record: record["columns"].pop("row"),
    "counts that are texts": said(n="4", done="3"),
    "counts that are not whole": said(n=4.0, done=3.0),
    "counts that are negative": said(n=-1, done=-1, failed={}),
    "counts that are huge": said(n=1 << 70, done=1 << 70, failed={}),
    "counts that are NaN": said(n=float("nan")),
    "counts that are lists": said(n=[], done=[], failed={}),
    "failures that are a list": said(failed=[1]),
    "failures that are texts": said(failed={"a": "b"}),
    "failures of no known reason": said(failed={"../../x\x1b[2J": 0}),
    "parameters that are a list": said(params=[1]),
    "no parameters": said(params={}),
    "parameters that are deep": said(params={"spectrogram": {"x": [[[]]]}}),
    "inputs that are a text": said(inputs="abc"),
    "no manifest": said(inputs={}),
    "inputs with a NUL": said(inputs={"a\0b": "x"}),
    "inputs of a long name": said(inputs={"a" * 300: "x"}),
    "a stage elsewhere": said(stage="../../etc"),
    "a stage that is a number": said(stage=5),
    "a shard that is a text": said(shard="0"),
    "a shard of 2^70": said(shard=1 << 70),
    "companions elsewhere": said(companions={"../../../etc/passwd": "x"}),
    "companions that are a list": said(companions=[1]),
    "versions that are a list": said(versions=[1]),
    "another format": said(format=2),
    "a format that is a text": said(format="1"),
    "unknown keys": said(surprise=1),
    "a missing key": lambda record: record.pop("n"),
    "a digest that is a list": said(sha256=[1]),
    "weights that are a list": said(weights=[[]]),
}  # fmt: skip


def block(text: bytes) -> Callable[[Path], None]:
    """Replace the user block, with a checksum that is right."""

    def make(path: Path) -> None:
        line = text + b"\n"
        line += b"%08x\n" % zlib.crc32(line)
        path.write_bytes(line.ljust(HEADER_BYTES, b"\0") + path.read_bytes()[HEADER_BYTES:])

    return make


def rewritten(name: str, change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    """Change a column's content, and the sha256 with it."""

    def make(path: Path) -> None:
        content = bytearray(path.read_bytes())
        record = json.loads(content[:HEADER_BYTES].partition(b"\n")[0])
        of = record["columns"][name]
        values = np.frombuffer(content, of["dtype"], int(np.prod(of["shape"])), of["offset"])
        change(values.reshape(of["shape"]))
        record["sha256"] = hashlib.sha256(content[HEADER_BYTES:]).hexdigest()
        path.write_bytes(sealed(record) + content[HEADER_BYTES:])

    return make


def fill(value: Any) -> Callable[[np.ndarray], None]:
    return lambda values: values.__setitem__(..., value)


def hdf5(write: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    """Put an HDF5 file made by others in a shard's place, with a user block for it or without."""

    def make(path: Path) -> None:
        path.unlink()
        with h5py.File(path, "w", userblock_size=HEADER_BYTES) as file:
            write(file)

    return make


def external_link(file: h5py.File) -> None:
    file["row"] = h5py.ExternalLink("/etc/passwd", "/row")
    file["spectrogram_wide"] = h5py.ExternalLink("../../../outside.h5", "/x")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("row", (64,), "u1", external=[("/etc/passwd", 0, 64)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource("../../../outside.h5", "row", (4,))
    file.create_virtual_dataset("row", layout)


def loops(file: h5py.File) -> None:
    file["row"] = h5py.SoftLink("/frame_hw")
    file["frame_hw"] = h5py.SoftLink("/row")
    group = file.create_group("extract")
    group["itself"] = group


def huge(file: h5py.File) -> None:
    file.create_dataset("row", (1 << 40, 1 << 20), "i8", chunks=(1, 1 << 20))


def wrong_types(file: h5py.File) -> None:
    file.create_dataset("row", (4,), h5py.vlen_dtype(np.dtype("f4")))
    file.create_dataset("frame_hw", (4,), np.dtype([("a", "i4"), ("b", "f8")]))
    file.create_dataset("text", (4,), h5py.string_dtype())


def no_filter(file: h5py.File) -> None:
    data = file.create_dataset("row", (4,), "i8", chunks=(4,), compression="gzip")
    data[:] = 1


FILES: dict[str, Callable[[Path], None]] = {
    "no JSON": block(b"{nonsense"),
    "a list": block(b"[]"),
    "a number": block(b"17"),
    "deep": block(b"[" * 2000 + b"]" * 2000),
    "not UTF-8": block(b'{"stage": "\xff"}'),
    "NaN": block(b"NaN"),
    "a number of 3,000 digits": block(b'{"n": ' + b"9" * 3000 + b"}"),
    "rows that are negative": rewritten("row", fill(-1)),
    "rows that are huge": rewritten("row", fill(1 << 62)),
    "rows that come twice": rewritten("row", fill(0)),
    "rows of another shard": rewritten("row", lambda values: values.__iadd__(100)),
    "pictures cut beyond the end": rewritten("frame_offset", lambda v: v.__imul__(1000)),
    "pictures cut backwards": rewritten("frame_offset", lambda v: v.__setitem__(1, 1 << 60)),
    "pictures cut before the start": rewritten("frame_offset", fill(-5)),
    "pictures that are none": rewritten("frame_jpeg", fill(0)),
    "sizes that are negative": rewritten("frame_hw", fill(-1)),
    "columns that are valid elsewhere": rewritten("valid_cols", fill(1 << 30)),
    "spectrograms of NaN": rewritten("spectrogram_wide", fill(np.nan)),
    "times that are NaN": rewritten("frame_pts_s", fill(np.nan)),
    "times that are infinite": rewritten("duration_s", fill(np.inf)),
    "external links": hdf5(external_link),
    "external storage": hdf5(external_storage),
    "a virtual dataset": hdf5(virtual),
    "links in a circle": hdf5(loops),
    "2^60 rows": hdf5(huge),
    "compound and variable types": hdf5(wrong_types),
    "a filter": hdf5(no_filter),
    "a text": lambda path: path.write_text("not HDF5"),
    "a folder": lambda path: (path.unlink(), path.mkdir())[0],
    "a link to a device": lambda path: (path.unlink(), path.symlink_to("/dev/zero"))[0],
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name))[0],
    "a hole of 1 TB": lambda path: _longer(path, 1 << 40),
}  # fmt: skip
FILES |= {
    f"the header says: {name}": lambda path, change=change: put(path, change)
    for name, change in HEADERS.items()
}


def _longer(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, stored: Warm) -> dict[str, Ended]:
    """How commands end on caches with each of these shards, in which nothing changes."""
    folder = tmp_path_factory.mktemp("shards")
    make_cache(folder / "honest", 3)
    commands: dict[str, tuple[Path, list[str]]] = {}
    for number, (name, change) in enumerate(FILES.items()):
        here = folder / "all" / f"{number}"
        shutil.copytree(folder / "honest", here / "avcache")
        change(shard_path(here / "avcache", EXTRACT, 0))
        for command, words in COMMANDS.items():
            if not (name == "a hole of 1 TB" and command in ("verify", "export")):
                commands[f"{command}: {name}"] = (here, words)
    return run_confined(stored, commands, folder / "logs")


@pytest.mark.parametrize("name", FILES)
def test_forged_shards_end_in_a_line(name: str, ended: dict[str, Ended]) -> None:
    for command in COMMANDS:
        if f"{command}: {name}" not in ended:
            continue
        found = ended[f"{command}: {name}"]
        assert found.code in (0, 5), (command, found)
        assert "Traceback" not in found.text and "\x1b" not in found.text
        if found.code == 5 and command != "verify":
            assert "0000000.h5" in found.error
