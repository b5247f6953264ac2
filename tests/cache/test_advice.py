"""Commands in messages name the cache, unless a command finds it by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from avpipe.cache.advice import advice
from avpipe.cache.schema import shard_path
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError
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
    with pytest.raises(CacheCorruptError, match=f"run `avpipe verify --repair --cache {cache}`"):
        Cache(cache).shard("extract", 0)
