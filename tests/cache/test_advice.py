"""Commands in messages name the cache, unless a command finds it by itself."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from avpipe.advice import advice
from avpipe.cache.schema import damaged, shard_path
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError, Fault, Wrong
from avpipe.pipeline.fixes import ending, shown
from fake_clips import make_cache


def test_the_cache_is_named_where_it_is_not_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("avcache", "my cache"):
        make_cache(tmp_path / name, ["a"])
    for cache in (Path("avcache"), tmp_path / "avcache"):
        assert advice("knn", cache / "hints/detr-r50/0000000.h5") == "`avpipe knn`"
    assert advice("knn", Path("my cache/extract/0000000.h5")) == "`avpipe knn --cache 'my cache'`"
    assert advice("knn", tmp_path / "my cache") == f"`avpipe knn --cache '{tmp_path}/my cache'`"


@pytest.mark.parametrize("content", [b"", b"changed"])
def test_a_damaged_file_names_its_cache(tmp_path: Path, content: bytes) -> None:
    cache = make_cache(tmp_path / "cache", ["a"])
    path = shard_path(cache, "extract", 0)
    path.write_bytes(content and path.read_bytes()[: -len(content)] + content)
    with pytest.raises(CacheCorruptError) as caught:
        Cache(cache).shard("extract", 0)
    assert caught.value.fault == Fault(Wrong.DAMAGED, path, "extract", 0)
    assert shown(caught.value).endswith(f"; run `avpipe verify --repair --cache {cache}`")


@pytest.mark.parametrize("stage", ["extract", "audio", "hints/detr-r50", "neighbors/image-x@1a2b"])
def test_the_facts_of_an_error_travel_between_processes(stage: str) -> None:
    error = damaged(shard_path(Path("cache"), stage, 12), ": cut off")
    again = pickle.loads(pickle.dumps(error))  # as workers send it
    assert (str(again), again.fault) == (f"cache/{stage}/0000012.h5: cut off", error.fault)
    assert (again.fault.stage, again.fault.shard) == (stage, 12)


def test_every_fault_has_its_ending() -> None:
    for reason in Wrong:
        assert "`avpipe " in ending(Fault(reason, Path("cache"))), reason
    assert ending(None) == ""
