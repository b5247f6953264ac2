"""Lists, tables and JSON of others: whatever they hold, a line and the right exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cache_factory import make_cache
from hostile_run import Ended, below, run_confined
from warm import Warm

_LONG = b"a" * 300_000
LISTS: dict[str, tuple[str, bytes]] = {
    "a field of 300 kB": ("l.csv", b"path,label\n" + _LONG + b",x\n"),
    "a quote that never ends": ("l.csv", b'path,label\n"a.mp4,x\n' * 3 + _LONG),
    "NUL": ("l.csv", b"path,label\na\0b.mp4,x\n"),
    "NUL in a list": ("l.txt", b"a\0b.mp4\n\0\n"),
    "100,000 columns": ("l.csv", b",".join([b"path"] * 100_000) + b"\n" + b"," * 99_999 + b"\n"),
    "a column twice": ("l.csv", b"path,path,label\na.mp4,b.mp4,x\n"),
    "a start of NaN": ("l.csv", b"path,start_s\na.mp4,nan\n"),
    "a start of infinity": ("l.csv", b"path,start_s\na.mp4,1e999\n"),
    "a start before the start": ("l.csv", b"path,start_s\na.mp4,-1e300\n"),
    "a start of 5,000 digits": ("l.csv", b"path,start_s\na.mp4," + b"9" * 5000 + b"\n"),
    "a length of nothing": ("l.csv", b"path,start_s,seconds\na.mp4,0,0\n"),
    "a length of NaN": ("l.csv", b"path,start_s,seconds\na.mp4,0,nan\n"),
    "UTF-16": ("l.csv", "path,label\na.mp4,x\n".encode("utf-16")),
    "Latin-1": ("l.csv", "path,label\nä.mp4,ü\n".encode("latin-1")),
    "noise": ("l.csv", bytes(range(256)) * 40),
    "carriage returns": ("l.csv", b"path,label\ra.mp4,x\r\r\r"),
    "a file elsewhere": ("l.csv", b"path,id\n/etc/passwd,x\n../../../etc/passwd,y\n"),
    "a device": ("l.csv", b"path,id\n/dev/zero,x\n/dev/stdin,y\n"),
    "a protocol": ("l.csv", b"path,id\nftp://127.0.0.1:9/a.mp4,x\nconcat:a|b,y\n"),
    "a formula": ("l.csv", b"path,label\na.mp4,=cmd|' /C calc'!A0\n"),
    "ids that lead elsewhere": (
        "l.csv",
        b"id,label\n../up,x\n/abs,x\n..,x\n.,x\n,x\na/b,x\n" + b"n" * 5000 + b",x\n",
    ),
    "a terminal's commands": ("l.csv", b"id,label\n\x1b]0;title\x07\x1b[2J,\xe2\x80\xae\n"),
    "a Parquet table": ("l.csv", b"PAR1" + bytes(400)),
    "an archive": ("l.csv", b"PK\x03\x04" + bytes(400)),
    "HDF5": ("l.txt", b"\x89HDF\r\n\x1a\n" + bytes(400)),
    "nothing": ("l.csv", b""),
    "a header alone": ("l.csv", b"path,label\n"),
    "lines without an end": ("l.txt", b"a" * 2_000_000),
}
BOXES: dict[str, bytes] = {
    "NaN": b'[{"file": "clip000", "class": "a", "bbox": [[NaN, NaN, NaN, NaN]]}]',
    "infinity": b'[{"file": "clip000", "class": "a", "bbox": [[0, 0, 1e999, Infinity]]}]',
    "huge": b'[{"file": "clip000", "class": "a", "bbox": [[-1e300, 0, 1e300, 1e308]]}]',
    "backwards": b'[{"file": "clip000", "class": "a", "bbox": [[1, 1, 0, 0]]}]',
    "whole numbers of 4,000 digits": b'[{"file": "clip000", "class": "a", "bbox": [[0,0,1,%s]]}]'
    % (b"9" * 4000),
    "texts": b'[{"file": "clip000", "class": "a", "bbox": [["0", "0", "1", "1"]]}]',
    "three corners": b'[{"file": "clip000", "class": "a", "bbox": [[0, 0, 1]]}]',
    "a file that is a list": b'[{"file": ["clip000"], "class": "a", "bbox": [[0, 0, 1, 1]]}]',
    "a class that is deep": b'[{"file": "clip000", "class": {"a": []}, "bbox": [[0, 0, 1, 1]]}]',
    "a name twice": b'[{"file": "clip000", "file": "clip001", "class": "a", "bbox": []}]',
    "a clip twice": b'[{"file": "clip000", "class": "a", "bbox": [[0, 0, 1, 1]]}, '
    b'{"file": "clip000", "class": "b", "bbox": [[0, 0, 1, 1]]}]',
    "an object": b'{"clip000": [[0, 0, 1, 1]]}',
    "true": b"true",
    "a file elsewhere": b'[{"file": "../../etc/passwd", "class": "a", "bbox": [[0, 0, 1, 1]]}]',
    "100,000 boxes": json.dumps(
        [{"file": "clip000", "class": "a", "bbox": [[0, 0, 1, 1]] * 100_000}]
    ).encode(),
}


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory, stored: Warm) -> dict[str, Ended]:
    """How commands end on each list."""
    folder = tmp_path_factory.mktemp("tables")
    make_cache(folder / "honest", 2)
    commands: dict[str, tuple[Path, list[str]]] = {}
    for number, (name, (file, content)) in enumerate(LISTS.items()):
        here = folder / "all" / f"{number}"
        shutil.copytree(folder / "honest", here / "avcache")
        (here / file).write_bytes(content)
        commands[f"extract: {name}"] = (here, ["extract", file, "--cache", "new", "--dry-run"])
        commands[f"ids: {name}"] = (here, ["status", "--ids", file])
        commands[f"export: {name}"] = (here, ["export-cache", "out", "--ids", file])
    found = run_confined(stored, commands, folder / "logs")
    beside = {name.partition("/")[0] for name in below(folder / "all")}
    assert beside == {str(number) for number in range(len(LISTS))}
    return found


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("command", ["extract", "ids", "export"])
def test_lists_end_in_order(command: str, name: str, lists: dict[str, Ended]) -> None:
    found = lists[f"{command}: {name}"]
    assert found.code in (0, 2, 3, 4), found
    assert "Traceback" not in found.text and "internal" not in found.text
    assert not set("\x1b\x07\u202e") & set(found.text)
    if found.code:
        assert LISTS[name][0] in found.error or "--ids" in found.error


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> dict[str, Ended]:
    """How an evaluation ends on each file of boxes; there is no run: boxes are read before it."""
    folder = tmp_path_factory.mktemp("boxes")
    make_cache(folder / "honest", 2)
    commands: dict[str, tuple[Path, list[str]]] = {}
    for number, (name, content) in enumerate(BOXES.items()):
        here = folder / "all" / f"{number}"
        shutil.copytree(folder / "honest", here / "avcache")
        (here / "run").mkdir()
        (here / "run" / "run.json").write_text("{}")
        (here / "vggss.json").write_bytes(content)
        words = ["evaluate", "run", "--annotations", "vggss.json", "--benchmark", "vggss"]
        commands[name] = (here, words)
    return run_confined(warm, commands, folder / "logs")


@pytest.mark.parametrize("name", BOXES)
def test_boxes_end_in_a_line(name: str, boxes: dict[str, Ended]) -> None:
    assert boxes[name].code in (4, 5), boxes[name]
    assert boxes[name].error
