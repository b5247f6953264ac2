"""Caches put together by others: shards of other clips, ids that lead elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import AUDIO, EXTRACT, shard_path
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
