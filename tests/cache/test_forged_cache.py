"""Caches put together by others: shards of other clips, ids that lead elsewhere."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from avpipe.cache import manifest as manifest_module
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import AUDIO, EXTRACT, parse_block, shard_path
from avpipe.cache.segment import Line, line_text
from avpipe.cache.shard import read_header
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from cache_factory import add_inputs, make_cache
from evaluation_factory import TINY

pytestmark = pytest.mark.usefixtures("one_thread")
BAD = ["../up001", "/tmp/avpipe-forged001", "..", ".", "", "a/b001", "a\0b001"]
READERS = (
    "status",
    "status --ids ids.txt",
    "inspect",
    "inspect --failures",
    "localize --ids ids.txt --run run --out out",
    "train --run other",
    "knn --k 2 --weights random",
    "extract --retry-failed",
)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))
    return here


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(make_cache(folder / "avcache", 8), load_recipe("compact", TINY), folder / "run",
          device="cpu")  # fmt: skip
    return folder / "run"


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """See that a command ends with one line and exit code 5; return the line."""
    capsys.readouterr()
    assert main(words.split()) == 5, words
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("avpipe: error: "), words
    (line,) = err.splitlines()
    return line


def forge(monkeypatch: pytest.MonkeyPatch, clip_id: str, number: int = 1) -> None:
    """Make `avcache`, whose clip `number` has an id that avpipe gives to none."""
    ids = [f"clip{i:03d}" for i in range(4)]
    ids[number] = clip_id or "001"
    with monkeypatch.context() as patch:
        patch.setattr("avpipe.cache.segment.is_bad_id", lambda clip_id: False)
        if clip_id[-3:].isdecimal():
            make_cache(Path("avcache"), 4, ids=ids)
            return
    make_cache(Path("avcache"), 4)  # the drawn clips want digits: the manifest alone is forged
    (path,) = Path("avcache/manifest").glob("*.jsonl")
    segment = Manifest(Path("avcache")).segments[0]
    lines = list(segment.lines())
    lines[number]["id"] = clip_id
    for file in Path("avcache/manifest").iterdir():
        file.unlink()
    assert Manifest(Path("avcache")).publish(lines, 4, segment.roots, shard_clips=16)
    assert path.exists()


@pytest.mark.parametrize("bad", BAD)
def test_ids_that_lead_elsewhere_are_refused_when_read(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(monkeypatch, bad)
    with pytest.raises(CacheCorruptError, match=r"row 1 has the id .*, which avpipe never writes"):
        list(Manifest(Path("avcache")).lines())
    with pytest.raises(CacheCorruptError):
        Manifest(Path("avcache")).line(1)
    with pytest.raises(CacheCorruptError):
        _ = Cache("avcache").ids


def test_nothing_is_written_outside(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`localize --ids` wrote `../up001.png` beside the folder that `--out` names."""
    forge(monkeypatch, "../up001")
    Path("ids.txt").write_text("../up001\nclip000\n")
    shutil.copytree(run, "run")
    line = refused("localize --ids ids.txt --run run --out out", capsys)
    assert "avcache/manifest/0000.jsonl: row 1 has the id '../up001'" in line
    for words in ("inspect --id ../up001", "train --run other", "status --ids ids.txt"):
        refused(words, capsys)
    assert main(["verify"]) == 5
    assert "row 1 has the id" in capsys.readouterr().out
    assert main(["verify", "--repair"]) == 5
    assert Path("avcache/manifest/0000.jsonl").exists()
    assert sorted(path.name for path in Path("..").iterdir() if path.name != "no-weights") == [
        "here"
    ]
    assert not Path("out").exists() and not list(Path().rglob("*.png"))


def test_a_rejected_line_may_have_any_id() -> None:
    """Planning records what it was asked for: it fails as `bad_id` and names no file."""
    Path("list.csv").write_text("id,label\n../up,x\n")
    assert main(["extract", "list.csv", "--jobs", "1"]) == 3
    (failure,) = Cache("avcache").failures()
    assert (failure.id, failure.reason) == ("../up", "bad_id")


def test_lines_that_are_no_clips_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make_cache(Path("avcache"), 2)
    segment = cache.manifest.segments[0]
    good = dict(next(segment.lines()))
    for number, change in enumerate(
        [{"id": 5}, {"id": None}, {"path": 1}, {"root": 7}, {"root": -1}, {"root": "0"}]
    ):
        made = Manifest(Path(f"c{number}"))
        assert made.publish([good | change], 1, segment.roots)  # type: ignore[list-item]
        with pytest.raises(CacheCorruptError, match="row 0 is no clip"):
            list(Manifest(Path(f"c{number}")).lines())


@pytest.mark.parametrize("words", READERS)
def test_shards_of_another_manifest_are_not_read_under_these_ids(
    words: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fresh clips in rows 0 to 15 would have been shown and learnt from as clip000 to clip015."""
    add_inputs(make_cache(Path("avcache"), 24))
    make_cache(Path("theirs"), 24, first=100)
    for stage in (EXTRACT, AUDIO):
        shutil.copy(shard_path(Path("theirs"), stage, 1), shard_path(Path("avcache"), stage, 1))
    Path("ids.txt").write_text("clip020\n")
    shutil.copytree(run, "run")
    line = refused(words, capsys)
    assert "0000001.h5 belongs to another manifest" in line
    assert "`avpipe verify --repair`" in line


def test_what_the_line_says_mends_it(capsys: pytest.CaptureFixture[str]) -> None:
    make_cache(Path("avcache"), 24)
    make_cache(Path("theirs"), 24, first=100)
    for stage in (EXTRACT, AUDIO):
        shutil.copy(shard_path(Path("theirs"), stage, 1), shard_path(Path("avcache"), stage, 1))
    with pytest.raises(CacheCorruptError, match="another manifest"):
        Cache("avcache").shard(AUDIO, 1)
    main(["verify", "--repair"])
    assert Cache("avcache").ids == [f"clip{i:03d}" for i in range(16)]
    assert main(["status"]) == 0


HEADS = [
    {"shard_clips": 0},
    {"shard_clips": -1},
    {"shard_clips": "16"},
    {"first_row": -1},
    {"num_retries": 0.5},
    {"roots": ["/videos"]},
    {"roots": [{"path": 5, "device": 1}]},
    {"roots": "/"},
]


def forge_segment(monkeypatch: pytest.MonkeyPatch, cache: Path, **change: Any) -> Path:
    """Publish a segment of one clip whose head is another one, its sums right."""
    good: Line = {"id": "a", "root": 0, "path": "a.mp4", "source": "a", "bytes": 9}
    write = manifest_module.finite_json
    with monkeypatch.context() as patch:
        patch.setattr(
            manifest_module,
            "finite_json",
            lambda value: write(value | change if "format" in value else value),
        )
        assert Manifest(cache).publish([good], 1, [{"path": "/videos", "device": 1}])
    return cache / "manifest" / "0000.jsonl"


@pytest.mark.parametrize("change", HEADS, ids=str)
def test_heads_that_no_avpipe_writes_are_damaged(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`shard_clips` 0 ended in a ZeroDivisionError, roots that are texts in a TypeError."""
    path = forge_segment(monkeypatch, Path("c"), **change)
    with pytest.raises(CacheCorruptError, match=f"{path} is damaged"):
        Manifest(Path("c"))


@pytest.mark.parametrize("number", ["1e999", "NaN", "true", "-1", '"1"', "[]"])
def test_tails_that_no_avpipe_writes_are_restored(
    number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1e999 was an internal error, of `verify --repair` too, which mends it from the copy."""
    path = forge_segment(monkeypatch, Path("avcache"))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"n":1', b'"n":' + number.encode()))
    refused("status", capsys)
    assert main(["verify", "--repair"]) == 0
    assert path.read_bytes() == whole


LINES = [
    {"bytes": -1},
    {"bytes": "9"},
    {"source": None},
    {"label": ["dog"]},
    {"retry_of": 7, "was": "missing"},
    {"retry_of": [1], "was": "missing"},
    {"retry_of": -1, "was": "missing"},
    {"reject": "nonsense"},
    {"start_s": -1.0},
    {"start_s": "0"},
    {"offset": 1.5},
    {"path": ""},
]


@pytest.mark.parametrize("change", LINES, ids=str)
def test_lines_of_other_values_are_refused(change: dict[str, Any]) -> None:
    line: Any = {"id": "a", "root": 0, "path": "a.mp4", "source": "a", "bytes": 9} | change
    assert Manifest(Path("c")).publish([line], 1, [{"path": "/videos", "device": 1}])
    with pytest.raises(CacheCorruptError, match="row 0 is no clip"):
        list(Manifest(Path("c")).lines())


def test_no_segment_gets_numbers_that_are_no_json() -> None:
    """`"start_s":inf` was published: no later command could read that cache."""
    line: Any = {"id": "a", "root": 0, "path": "a.mp4", "source": "a", "bytes": 9}
    with pytest.raises(ValueError, match="JSON"):
        Manifest(Path("c")).publish([line | {"start_s": math.inf}], 1, [])
    with pytest.raises(ValueError, match="starts at inf s"):
        line_text("a", 0, "a.mp4", 9, "a", start_s=math.inf, seconds=10.0)
    assert Manifest(Path("c")).num_rows == 0


@pytest.mark.parametrize("name", ["0001.jsonl", "0000.jsonl.copy"])
def test_a_pipe_in_the_place_of_a_segment_is_damage(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command waited for ever for somebody to write into it."""
    first = forge_segment(monkeypatch, Path("avcache"))
    path = first.with_name(name)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    if name == "0001.jsonl":
        assert "0001.jsonl: not a regular file" in refused("status", capsys)
    assert main(["verify"]) == 5
    assert f"{name}: not a regular file" in capsys.readouterr().out
    main(["verify", "--repair"])
    assert path.is_file() == (name == "0000.jsonl.copy")


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "../other", "", "/", "."])
def test_shards_made_of_what_no_stage_is_called_are_damaged(name: str) -> None:
    """A NUL and 300 letters were internal errors of `status`, which looks for such a stage."""
    header = read_header(shard_path(make_cache(Path("avcache"), 2).path, EXTRACT, 0))
    for made in (
        replace(header, inputs={name: "0" * 64}),
        replace(header, companions={name: "0" * 64}),
    ):
        with pytest.raises(CacheCorruptError, match="a name that no stage has"):
            parse_block(made.to_block(), Path("0000000.h5"), 1 << 30)


def test_shards_that_do_not_say_what_they_were_made_with_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = shard_path(make_cache(Path("avcache"), 2).path, EXTRACT, 0)
    header = read_header(path)
    with path.open("r+b") as file:
        file.write(replace(header, inputs={}, companions={}).to_block())
    assert "belongs to another manifest" in refused("extract", capsys)
