"""Weights of others: headers that lie, archives that swell, pickles that run programs."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_run import Ended, run_confined, unchanged
from warm import Warm

TRACE = "trace"


class Payload:
    """A pickle of it makes a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(TRACE),)


class System:
    """A pickle of it starts a program."""

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, (f"touch {TRACE}",)


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a file of that header: anything JSON can say, or the bytes themselves."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin: int, end: int, shape: Any = (4,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


_W = json.dumps(tensor(0, 16)).encode()
SAFETENSORS: dict[str, bytes] = {
    "a header of 2^63 bytes": safetensors({}, length=1 << 63),
    "a header of 2^64 - 1 bytes": safetensors({}, length=(1 << 64) - 1),
    "a header of 1 TB": safetensors({"w": tensor(0, 16)}, bytes(16), length=1 << 40),
    "a header of 99 MB that is not there": safetensors({}, length=99 << 20),
    "a header cut short": safetensors({"w": tensor(0, 16)})[:30],
    "no header": struct.pack("<Q", 0),
    "eight bytes": bytes(8),
    "a header that is a list": safetensors([1, 2]),
    "a header that is a number": safetensors(b"17"),
    "a header that is no JSON": safetensors(b"{nonsense}"),
    "a header that is not UTF-8": safetensors(b'{"\xff": 1}'),
    "a deep header": safetensors(b'{"a":' * 100_000),
    "a name twice": safetensors(
        b'{"w":%s,"w":%s}' % (_W, _W), bytes(16)),
    "offsets beyond the file": safetensors({"w": tensor(0, 1 << 40, (1 << 38,))}, bytes(16)),
    "offsets before the file": safetensors({"w": tensor(-16, 0)}, bytes(16)),
    "offsets that overlap": safetensors({"a": tensor(0, 16), "b": tensor(8, 24)}, bytes(24)),
    "offsets backwards": safetensors({"w": tensor(16, 0)}, bytes(16)),
    "offsets that are no numbers": safetensors(
        {"w": {**tensor(0, 16), "data_offsets": ["a", 1.5]}}),
    "a hole": safetensors({"w": tensor(16, 32)}, bytes(32)),
    "a huge shape": safetensors({"w": tensor(0, 16, (1 << 62, 1 << 62))}, bytes(16)),
    "a shape whose product overflows to 4": safetensors(
        {"w": tensor(0, 16, ((1 << 62) + 1, 4))}, bytes(16)),
    "a huge shape of nothing": safetensors({"w": tensor(0, 0, (0, 1 << 62, 1 << 62))}),
    "a negative shape": safetensors({"w": tensor(0, 16, (-4,))}, bytes(16)),
    "a shape of 100,000 axes": safetensors({"w": tensor(0, 4, (1,) * 100_000)}, bytes(4)),
    "a dtype nobody knows": safetensors({"w": tensor(0, 16, dtype="Q9")}, bytes(16)),
    "a dtype of another size": safetensors({"w": tensor(0, 16, dtype="F64")}, bytes(16)),
    "no tensor": safetensors({}),
    "metadata that is no text": safetensors(
        {"__metadata__": {"a": 1}, "w": tensor(0, 16)}, bytes(16)),
    "20,000 names": safetensors({f"w{i}": tensor(4 * i, 4 * i + 4, (1,)) for i in range(20_000)},
                                bytes(80_000)),
    "a name of a megabyte": safetensors({"w" * (1 << 20): tensor(0, 16)}, bytes(16)),
    "a name that acts on a terminal": safetensors({"\x1b[2J\u202e": tensor(0, 16)}, bytes(16)),
}  # fmt: skip


def saved(value: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def swollen() -> bytes:
    """Return an archive whose entries are 4 GB of zeros."""
    file = io.BytesIO()
    whole = zipfile.ZipFile(io.BytesIO(saved({"w": torch.ones(4)})))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in whole.namelist():
            if name.endswith("data/0"):
                with archive.open(name, "w") as entry:
                    for _ in range(64):
                        entry.write(bytes(1 << 20))
            else:
                archive.writestr(name, whole.read(name))
    content = file.getvalue()
    return content.replace(struct.pack("<I", 64 << 20), struct.pack("<I", (4 << 30) - 2))


def renamed(to: str) -> bytes:
    """Return an archive whose entries lead elsewhere."""
    file = io.BytesIO()
    whole = zipfile.ZipFile(io.BytesIO(saved({"w": torch.ones(4)})))
    with zipfile.ZipFile(file, "w") as archive:
        for name in whole.namelist():
            archive.writestr(to + name, whole.read(name))
    return file.getvalue()


def opcodes(code: bytes) -> bytes:
    """Return an archive with a pickle made by hand."""
    file = io.BytesIO()
    whole = zipfile.ZipFile(io.BytesIO(saved({"w": torch.ones(4)})))
    with zipfile.ZipFile(file, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, code if name.endswith("data.pkl") else whole.read(name))
    return file.getvalue()


def laughs() -> bytes:
    """Return a pickle of lists of lists: 60 bytes of memo, 2^40 items for who walks them."""
    code = b"\x80\x02]q\x00"
    for level in range(40):
        code += b"(h%c" % level + b"h%c" % level + b"lq%c" % (level + 1)
    return opcodes(code + b".")


PICKLES: dict[str, Callable[[], bytes]] = {
    "a payload in an archive": lambda: saved({"model": {"w": torch.ones(1)}, "x": Payload()}),
    "a payload in an old file": lambda: saved({"w": torch.ones(1), "x": System()}, legacy=True),
    "a bare pickle": lambda: pickle.dumps(System(), protocol=2),
    "a bare pickle of protocol 5": lambda: pickle.dumps({"w": Payload()}, protocol=5),
    "a payload as a name": lambda: pickle.dumps({Payload(): torch.ones(1)}, protocol=2),
    "eval": lambda: opcodes(b"\x80\x02c__builtin__\neval\n(X\x03\0\0\x001+1tR."),
    "an archive that swells": swollen,
    "an archive whose names lead elsewhere": lambda: renamed("../../"),
    "an archive whose names are absolute": lambda: renamed("/"),
    "an archive of nothing": lambda: b"PK\x05\x06" + bytes(18),
    "an archive in ruins": lambda: b"PK\x03\x04" + b"\xff" * 400,
    "a long that takes a day": lambda: opcodes(b"\x80\x02\x8b\xff\xff\xff\x7f."),
    "a text of 4 GB": lambda: opcodes(b"\x80\x02X\xff\xff\xff\xffabc."),
    "lists of lists": laughs,
    "a deep tuple": lambda: opcodes(b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."),
    "a memo of 2^31": lambda: opcodes(b"\x80\x02K\x01r\xff\xff\xff\x7f."),
    "nothing on the stack": lambda: opcodes(b"\x80\x020000."),
    "no end": lambda: opcodes(b"\x80\x02K\x01"),
    "a list": lambda: saved([1, 2]),
    "a tensor": lambda: saved(torch.ones(3)),
    "numbers as names": lambda: saved({1: torch.ones(3), "w": torch.ones(1)}),
    "a name of nothing": lambda: saved({None: torch.ones(3), 2.5: 1}),
    "texts": lambda: saved({"model": "text", "w": "text"}),
    "a tensor of 2^50 numbers in 4 bytes": lambda: saved(
        {"imgnet.conv1.weight": torch.ones(1).as_strided((1 << 25, 1 << 25), (0, 0))}
    ),
    "the right names, 2^50 numbers each": lambda: saved(
        {name: torch.ones(1).as_strided((1 << 25, 1 << 25), (0, 0)) for name in theirs()}
    ),
    "the right names, texts": lambda: saved(dict.fromkeys(theirs(), "text")),
    "the right names, sparse": lambda: saved(
        {name: torch.ones(2, 2).to_sparse() for name in theirs()}
    ),
}


def theirs() -> list[str]:
    """Return some of EZ-VSL's names."""
    return [f"module.imgnet.layer{i}.0.conv1.weight" for i in range(1, 5)]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> dict[str, Ended]:
    """How imports of all these files end, in a folder in which nothing changes."""
    folder = tmp_path_factory.mktemp("weights")
    files = {name: ("w.safetensors", content) for name, content in SAFETENSORS.items()}
    files |= {name: ("w.pth", make()) for name, make in PICKLES.items()}
    commands = {}
    for number, (name, (file, content)) in enumerate(files.items()):
        here = folder / "all" / f"{number}"
        here.mkdir(parents=True)
        (here / file).write_bytes(content)
        commands[name] = (here, ["import-checkpoint", file, "--from", "ez-vsl", "--run", "r"])
    with unchanged(folder / "all"):
        return run_confined(warm, commands, folder / "logs")


@pytest.mark.parametrize("name", [*SAFETENSORS, *PICKLES])
def test_weights_that_are_none_end_in_a_line(name: str, ended: dict[str, Ended]) -> None:
    """Which names the file; nothing is run, written or made beside it."""
    assert re.search(r"w\.(pth|safetensors)", ended[name].error)
    assert ended[name].code in (4, 6)
    assert not re.search("[\x1b\u202e]", ended[name].text)
