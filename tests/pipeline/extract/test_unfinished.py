"""Commands on a cache of which clips failed, or are not extracted yet, say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline.main import main
from avpipe.stages.neighbors.vectors import id_set
from cache_factory import make_cache
from fake_clips import make_cache as make_fake_cache

ENCODER = "imagenet-resnet18"
NETWORK = {
    "knn": ("--image", ENCODER, "--audio", "none", "--k", "2"),
    "embed-teachers": ("--visual", ENCODER, "--audio", "none"),
    "cluster": ("--k", "2"),
}


def test_listed_ids_that_failed_are_not_called_absent(tmp_path: Path) -> None:
    why = {"b2": ["no_audio"]}
    cache = Cache(make_fake_cache(tmp_path / "cache", ["a1", "b2", "c3"], failures=why))
    assert id_set(cache, ["a1", "b2", "zz"], ()).notices == (
        "1 of 3 listed ids failed, b2 first; "
        f"`avpipe inspect --failures --cache {cache.path}` says why",
        "1 of 3 listed ids are not in the cache, zz first",
    )


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Nine clips, of which four are not extracted yet."""
    cache = make_cache(tmp_path / "cache", 9, shard_clips=5).path
    for stage in ("extract", "audio"):
        (cache / stage / "0000001.h5").unlink()
    return cache


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("command", NETWORK)
def test_clips_that_are_not_extracted_are_told(
    half: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, *NETWORK[command], "--weights", "random", "--cache", str(half)]
    assert main([*words, "--json"]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    told = f"4 clips are not extracted yet: run `avpipe extract --cache {half}`, then this"
    assert any(line.startswith(told) for line in made["notices"])
    assert main(words) == 0
    assert told in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("command", "code"), [("knn", 4), ("cluster", 4), ("embed-teachers", 0)])
def test_missing_sounds_are_told(
    tmp_path: Path, command: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows without vectors would be compared as whatever lies in memory."""
    cache = make_cache(tmp_path / "cache", 9, shard_clips=5).path
    (cache / "audio" / "0000001.h5").unlink()
    words = [command, *NETWORK[command], "--weights", "random", "--cache", str(cache)]
    assert main(words) == code
    told = "".join(capsys.readouterr())
    assert f"run `avpipe extract --cache {cache}`" in told
    assert ("audio/0000001.h5 is missing" in told) == bool(code)
    assert ("the sounds of 1 shards are missing" in told) == (not code)


@pytest.mark.parametrize("command", ["knn", "cluster"])
@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("", "list.txt names no clip"),
        ("zz\nyy\n", "2 of 2 listed ids are not in the cache, yy first"),
        ("clip007\n", "1 of 1 listed ids are not extracted yet, clip007 first"),
    ],
)
def test_a_list_without_a_finished_clip_is_named_before_any_work(
    half: Path, command: str, listed: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = half.parent / "list.txt"
    path.write_text(listed)
    words = [command, *NETWORK[command], "--weights", "random", "--cache", str(half)]
    assert main([*words, "--ids", str(path)]) == 4
    told = capsys.readouterr().err
    assert "--ids" in told and message in told
    assert not (half / "embeddings").exists()


@pytest.mark.parametrize("command", ["train", "status"])
@pytest.mark.parametrize(("name", "listed"), [("list.txt", "\n"), ("list.csv", "id,label\n")])
def test_a_list_that_names_nothing_is_named(
    half: Path, command: str, name: str, listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = half.parent / name
    path.write_text(listed)
    assert main([command, "--cache", str(half), "--ids", str(path)]) == 4
    assert capsys.readouterr().err.startswith(f"avpipe: error: --ids {path} names no clip; it")
