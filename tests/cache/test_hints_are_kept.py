"""What is in the cache is neither replaced by another command nor asked for twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from avpipe.cache.schema import EXTRACT, shard_path
from avpipe.cache.shard import read_header
from avpipe.cache.state import drop_stage
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.pipeline.main import main
from cache_factory import make_cache
from fake_clips import file_bytes

IMAGE, SOUND = "imagenet-resnet18", "vggsound-resnet18"
KNN = ("knn", "--image", IMAGE, "--audio", "none", "--weights", "random")
HEARD = (
    ("embed-teachers", "--visual", "none", "--audio", SOUND),
    ("knn", "--image", "none", "--audio", SOUND, "--k", "3"),
    ("cluster", "--encoder", SOUND, "--k", "2"),
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = make_cache(tmp_path_factory.mktemp("kept") / "cache", 6, shard_clips=4).path
    for words in HEARD:
        assert main([*words, "--weights", "random", "--cache", str(cache)]) == 0
    hints = ("embed-teachers", "--visual", IMAGE, "--audio", "none", "--weights", "random")
    assert main([*hints, "--cache", str(cache)]) == 0
    return cache


@pytest.fixture
def cache(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "cache")
    return tmp_path / "cache"


def as_if_pretrained(cache: Path, stage: str) -> None:
    """Write a stage's shards again with the digest of a file."""
    opened = Cache(cache)
    for number in range(opened.manifest.num_shards):
        shard = opened.shard(stage, number)
        header = shard.header.__class__(
            **{**vars(shard.header), "weights": "0123456789abcdef" * 4, "columns": {}}
        )
        columns = {name: Rows.array(shard.column(name)) for name in ("row", "value")}
        write_shard(shard_path(cache, stage, number), header, columns)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_neighbours_never_replace_hints(
    cache: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    as_if_pretrained(cache, f"hints/{IMAGE}")
    before = file_bytes(cache)
    assert main([*KNN, "--k", "3", *more, "--cache", str(cache)]) == 5
    told = capsys.readouterr().err
    command = f"`avpipe embed-teachers --visual {IMAGE} --audio none --overwrite --cache {cache}`"
    assert command in told and "--weights with the files" in told
    assert "weights 0123456789ab, this run asks for random:0" in told
    assert file_bytes(cache) == before


@pytest.mark.usefixtures("one_thread")
def test_another_k_is_searched_in_the_same_hints(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*KNN, "--k", "3", "--cache", str(cache)]) == 0
    assert main([*KNN, "--k", "5000", "--cache", str(cache)]) == 5
    told = capsys.readouterr().err
    assert "this run asks for 5: give --k 3, or another --cache, or --overwrite" in told
    assert "(k 5000 is clipped to 5, the number of other clips in the set)" in told
    assert main([*KNN, "--k", "4", "--overwrite", "--cache", str(cache)]) == 0


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("words", HEARD, ids=lambda words: words[0])
def test_without_the_sound_what_is_done_is_skipped(
    cache: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    drop_stage(cache, "audio")
    before = file_bytes(cache)
    again = [*words, "--weights", "random", "--cache", str(cache)]
    assert main(again) == 0
    assert file_bytes(cache) == before
    shard_path(cache, f"hints/{SOUND}", 1).unlink()
    assert main(again) == 4
    assert "needs the sound" in capsys.readouterr().err


def test_without_the_sound_what_is_stale_cannot_be_made(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = Cache(cache).shard(EXTRACT, 0)
    old = read_header(shard.path)
    columns = {name: Rows.array(shard.column(name)) for name in shard.header.columns}
    columns["duration_s"] = Rows.array(shard.column("duration_s") + 1)
    write_shard(shard.path, old, columns)
    drop_stage(cache, "audio")
    assert main([*HEARD[0], "--weights", "random", "--cache", str(cache)]) == 4
    assert "needs the sound" in capsys.readouterr().err
