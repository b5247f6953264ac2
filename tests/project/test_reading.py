"""JSON, TOML and XML of others: whatever is wrong ends as one line with the right exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from avpipe.cache.segment import Segment
from avpipe.errors import CacheCorruptError, InputError
from avpipe.pipeline.main import main
from avpipe.reading import (
    MAX_TOML_BYTES,
    open_regular,
    parse_json,
    parse_json_lines,
    parse_toml,
    parse_xml,
    read_regular,
)
from avpipe.stages.synth.split import read_splits
from avpipe.train.benchmarks.avatar import read_frame
from avpipe.train.recipe import load_recipe
from avpipe.train.truths.annotations import read_json_boxes, read_list, read_pairs, read_rows
from avpipe.train.truths.lists import read_listed_boxes
from avpipe.train.truths.masks import read_mask
from cache_factory import make_cache
from evaluation_factory import write_flickr

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
DEEP = 100_000
JSON = {
    "deep arrays": b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a whole file that deep": b'[{"file": "a", "class": "b", "bbox": '
    + b"[" * DEEP
    + b"]" * DEEP
    + b"}]",
    "a huge number": b"9" * 5000,
    "no UTF-8": b'"\xff"',
    "nothing": b"",
    "a part": b'[{"file": ',
}
TOML = {
    "deep arrays": "x = " + "[" * DEEP,
    "deep tables": "x = " + "{a=" * DEEP,
    "a deep key": ".".join("a" * 20_000) + " = 1",
    "a deep table": f"[{'.'.join('a' * 20_000)}]",
    "a deep key inside": "x = {" + ".".join("a" * 20_000) + " = 1}",
    "a huge number": "x = " + "9" * 5000,
    "200,000 keys": "\n".join(f"key{i} = 1" for i in range(200_000)),
    "many keys": "\n".join(f"key{i} = 1" for i in range(15_000)),
    "many good keys": "\n".join(f"lr.{i} = 1" for i in range(15_000)),
    "a long key": "a" * 200_000 + " = 1",
}
"""Each was a RecursionError, or took minutes: time grew with the square of the file."""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def one_line(words: str, code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that ends with a code and one line on stderr; return the line."""
    capsys.readouterr()
    assert main(words.split()) == code
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == "" and line.startswith("avpipe: error: ") and "internal" not in line
    assert len(line) < 2100
    return line


def test_what_is_no_file_is_refused_without_waiting() -> None:
    Path("file").write_bytes(b"abc")
    Path("link").symlink_to("file")
    for name in ("file", "link"):
        assert read_regular(Path(name)) == b"abc"
    with open_regular(Path("file")) as file:
        assert file.name == "file" and not file.closed
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name in ("fifo", "socket", "/dev/null"):
            with pytest.raises(OSError, match="not a regular file") as caught:
                open_regular(Path(name))
            assert caught.value.errno == errno.ENXIO and caught.value.filename == name
    with pytest.raises(IsADirectoryError):
        open_regular(Path())
    with pytest.raises(FileNotFoundError):
        open_regular(Path("gone"))


PIPES: dict[str, Callable[[Path], object]] = {
    "a table": lambda path: read_rows(path, "video"),
    "a list": read_list,
    "pairs": read_pairs,
    "boxes": read_json_boxes,
    "boxes of pictures": read_listed_boxes,
    "a frame of AVATAR": read_frame,
    "a mask": read_mask,
    "splits": read_splits,
}


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_among_annotations_is_refused_without_waiting(name: str) -> None:
    """A command waited for ever for somebody to write into it."""
    os.mkfifo("pipe")
    with pytest.raises(InputError, match=r"^pipe.*not a regular file"):
        PIPES[name](Path("pipe"))


@pytest.mark.parametrize("name", JSON)
def test_json(name: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_json(JSON[name])


@pytest.mark.parametrize("parse", [parse_json, parse_toml, parse_xml])
def test_a_file_that_fills_the_memory(
    parse: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    for name in ("json.loads", "tomllib.loads", "ElementTree.fromstring"):
        monkeypatch.setattr(f"avpipe.reading.{name}", full)
    with pytest.raises(ValueError, match="too large for this machine's memory"):
        parse("")


def test_what_is_whole_is_read() -> None:
    assert parse_json(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    assert parse_toml('a.b = ["1.5", 2.5]\n# ' + "." * 300) == {"a": {"b": ["1.5", 2.5]}}
    many = ", ".join("1.5" for _ in range(500))
    assert len(parse_toml(f"a = [{many}]")["a"]) == 500  # dots of numbers are no key's
    assert parse_xml(b"<a><b>1</b></a>")[0].text == "1"
    depth = 50
    assert json.dumps(parse_json("[" * depth + "]" * depth)) == "[" * depth + "]" * depth
    assert len(parse_toml("#" * MAX_TOML_BYTES + "\n")) == 0


@pytest.mark.parametrize("name", TOML)
def test_settings_end_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("avpipe.toml").write_text(TOML[name])
    assert "avpipe.toml" in one_line("config", 2, capsys)


@pytest.mark.parametrize("name", TOML)
def test_recipes_end_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_cache(Path("avcache"), 1)
    Path("mine.toml").write_text(TOML[name])
    assert "mine.toml" in one_line("train --recipe mine.toml", 2, capsys)


def test_a_key_behind_an_unknown_one_is_not_looked_for() -> None:
    Path("mine.toml").write_text("lr = 1e-3\nodd = 2\n")
    with pytest.raises(Exception, match=r"mine\.toml: line 2: unknown key 'odd'"):
        load_recipe("mine.toml")


@pytest.mark.parametrize("name", JSON)
def test_annotations_end_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("vggss.json").write_bytes(JSON[name])
    make_cache(Path("avcache"), 1)
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")  # the boxes are read before any run
    words = "evaluate run --annotations vggss.json --benchmark vggss"
    assert "vggss.json" in one_line(words, 4, capsys)


@pytest.mark.skipif(not (SHARED / "repro/15-deep-json").is_dir(), reason="no ../shared/repro here")
def test_the_reported_file() -> None:
    with pytest.raises(Exception, match=r"vggss\.json: not the boxes of clips"):
        read_json_boxes(SHARED / "repro/15-deep-json/vggss.json")


BOX = b"<a><b><bbox><n/><x>1</x><x>2</x><x>z</x><x>4</x></bbox></b></a>"
BOMB = b"".join(b"<!ENTITY b%d '%s'>" % (i, b"&b%d;" % (i - 1) * 20) for i in range(1, 12))


@pytest.mark.parametrize(
    "content",
    [
        b"<a>" * DEEP,
        b"<a>" * DEEP + b"</a>" * DEEP + b"x",
        BOX,
        b"<!DOCTYPE a [<!ENTITY b0 'c'>" + BOMB + b"]><a>&b11;</a>",
        b"\xff\xfe<",
    ],
)
def test_boxes_as_xml_end_in_one_line(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    write_flickr(Path("flickr"), {"1": [[[0, 0, 9, 9]]]})
    Path("flickr/xml/1.xml").write_bytes(content)
    make_cache(Path("avcache"), 1)
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")
    words = "evaluate run --annotations flickr --benchmark flickr"
    assert "1.xml: not the boxes of annotators" in one_line(words, 4, capsys)


@pytest.mark.parametrize("name", JSON)
def test_the_page_of_a_run_and_a_world(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("run", "world"):
        Path(folder).mkdir()
    Path("run/run.json").write_bytes(JSON[name])
    Path("world/world.json").write_bytes(JSON[name])
    assert "run.json" in one_line("export run", 5, capsys)
    assert "world" in one_line("cases --run run --annotations world", 4, capsys)
    assert "world.json" in one_line("synth world --clips 40", 2, capsys)


def test_a_manifest_with_deep_lines() -> None:
    path = make_cache(Path("avcache"), 1).manifest.segments[0].path
    head, _, _ = path.read_bytes().splitlines()
    body = head + b"\n" + b"[" * DEEP + b"]" * DEEP + b"\n"
    tail = {"n": 1, "sha256": sha256(body).hexdigest()}
    path.write_bytes(
        body + json.dumps(tail, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    )
    with pytest.raises(CacheCorruptError, match="row 0 is no clip"):
        list(Segment(path).lines())


def test_everybody_reads_with_the_same_parser() -> None:
    """The parsers of the standard library are called in one file, and for what was just printed."""
    called = re.compile(r"\bjson\.loads?\(|\btomllib\.loads?\(|ElementTree\.(fromstring|parse)\(")
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("cache", "pipeline", "stages", "train", "weights", ".")
        for path in (ROOT / folder).glob("**/*.py" if folder != "." else "*.py")
        if called.search(path.read_text("utf-8"))
    }
    assert found == {"reading.py", "pipeline/demo/run.py"}


LINES = [
    b'{"a":1}', b"[1,2]", b' {"a": 1} ', "\"\u00e4\"".encode(), b'"\\udce9"', b"NaN", b"17",
    b'{"a":1},{"b":2}', b'{"a":[{}', b"{}]}", b"", b"{", b"nul", b'"\xff"', b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:20]))
def test_lines_are_parsed_as_one_by_one(line: bytes) -> None:
    def parsed(parse: Callable[[], Any]) -> str:
        try:
            return repr(parse())
        except ValueError as error:
            return f"ValueError: {error}"

    def of_three() -> Any:
        first, second, third = parse_json_lines(b'"x"\n' + line + b'\n"y"\n')
        assert (first, third) == ("x", "y")
        return second

    assert parsed(of_three) == parsed(lambda: parse_json(line))
